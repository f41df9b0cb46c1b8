"""What noise and orthogonal share: a quantizer's error of every linear layer, and what is added in its place."""

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from relapse.attacks import Attacked, AttackSettings
from relapse.quantization import BACKENDS, DataFree, layer_shapes
from relapse.runtime.settings import Text

Change = Callable[[str, Tensor, Tensor], Tensor]  # layer, weight, error of a quantizer -> what is added to the weight


class PerturbSettings(AttackSettings):
    """An entry of one of the two."""

    quantizer: Text = Field(
        description="The quantizer whose error is used: the name of its entry. One that needs no calibration text."
    )


@torch.no_grad()
def perturb(attacked: Attacked, change: Change) -> None:
    """Add `change`, a function of the quantizer's error Q(w) - w in float32, to every linear layer's weight."""
    model, quantizer = attacked.run.model, attacked.quantizer
    assert quantizer is not None  # the attack names one
    backend = BACKENDS.get(quantizer.backend)
    assert isinstance(backend, DataFree)
    for layer in layer_shapes(model):
        weight = model.get_submodule(layer).weight
        values = weight.float()
        weight.copy_(values + change(layer, values, backend.rounded(values, quantizer) - values))
