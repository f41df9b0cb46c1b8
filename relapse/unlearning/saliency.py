"""SURE: only the weights that matter most to what is to be forgotten are updated, at a large learning rate.

Paper, Eq. 4-6 (arXiv 2410.16454): s_i = ||gradient of L_forget w.r.t. the weights of module i|| at the target's
weights; the modules with s_i at or above the percentile gamma are updated, all others stay as they are. A module is one
weight tensor. This module masks gradients; trainer.py has the losses and the steps.

Its released code does something else twice over, so there are three masks, and a control:

- `paper`: modules, chosen once. The others leave the optimiser, so that not even momentum moves them.
- `row`: rows of weight matrices, and single elements of vectors, chosen at every step from that step's forget gradient.
The mask is put on the gradient, so that AdamW's momentum still moves a row for some steps after it was last chosen.
- `released`: no mask, and the forget gradient twice, which is what the released code comes to when it runs.
- `random`: for every module that `paper` keeps, one with as many weights drawn at random.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field

from relapse.models.loading import linear_layers
from relapse.runtime.errors import RelapseError
from relapse.unlearning.lora import adapted_layers
from relapse.unlearning.settings import MethodSettings


class Sure(MethodSettings):
    """The keys of SURE."""

    mask: Literal["paper", "row", "released", "random"] = Field(
        "paper",
        description="What is updated. paper: the modules whose forget gradient at the target's weights has a norm "
        "at or above `percentile` (Eq. 4-6), chosen once. row: the rows, chosen at every step. released: everything, "
        "with the forget gradient counted twice, as the released code runs. random: a control, as many modules with as "
        "many weights as `paper` keeps.",
    )
    percentile: float = Field(
        90.0,
        ge=0,
        le=100,
        description="gamma of Eq. 5: the percentage of modules or rows that do not change. The paper has 90 for "
        "NPO_KLR and 99 for GA_GDR on BOOKS. Not used with mask: released.",
    )
    modules: Literal["linear", "all"] = Field(
        "linear",
        description="Which weight tensors the mask chooses from. linear: those of the linear layers, which quantizers "
        "round. all: also embeddings, norms and output head, as in the paper's text. Not used with mask: released.",
    )


def eligible(model, settings: Sure) -> dict[str, torch.nn.Parameter]:
    """Name -> weight tensor of what a mask may choose from; with LoRA, the weights that have an adapter."""
    parameters = dict(model.named_parameters())
    if settings.modules == "all":
        return parameters
    layers = adapted_layers(model, settings.lora) if settings.parameters == "lora" else linear_layers(model)
    return {name: parameters[name] for name in (f"{layer}.weight" for layer in layers)}


def module_saliency(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """s_i of Eq. 4: the L2 norm of each module's gradient, (modules,) float32."""
    return torch.stack([gradient.float().norm() for gradient in gradients])


def row_saliency(gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """L2 norm of every row: (rows,) float32 for each gradient (rows, ...); of a vector each element is a row."""
    return [torch.linalg.vector_norm(_rows(gradient).float(), dim=1) for gradient in gradients]


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    """A view (rows, width) of a weight or its gradient; a vector's elements are rows, as in the released code."""
    return tensor.reshape(len(tensor), -1)


def threshold(saliency: torch.Tensor, percentile: float) -> torch.Tensor:
    """The `percentile` (0 to 100) of a 1-D tensor, linear between neighbours, as NumPy has it. Scalar."""
    # kthvalue and not quantile, which takes at most 16 million values: fewer than a 7B model with small rows has.
    place = (len(saliency) - 1) * percentile / 100
    low = int(place)
    lower = saliency.kthvalue(low + 1).values
    if place == low:
        return lower
    return lower + (saliency.kthvalue(low + 2).values - lower) * (place - low)


def salient_modules(saliency: torch.Tensor, percentile: float) -> list[int]:
    """Indices of the modules with s_i at or above the percentile (Eq. 5)."""
    return (saliency >= threshold(saliency, percentile)).nonzero()[:, 0].tolist()


def mask_rows(forget: Sequence[torch.Tensor], total: Sequence[torch.Tensor], percentile: float) -> None:
    """Set every row of the `total` gradients to 0 in place whose `forget` gradient's norm is below the percentile."""
    saliency = row_saliency(forget)
    least = threshold(torch.cat(saliency), percentile)
    for gradient, norms in zip(total, saliency, strict=True):
        _rows(gradient).mul_((norms >= least).unsqueeze(1))  # (rows, width) * (rows, 1)


def same_sizes(kept: Sequence[str], weights: Mapping[str, torch.Tensor], generator: torch.Generator) -> list[str]:
    """A random mask of the same size: for each kept module one with as many weights, drawn without replacement."""
    chosen: list[str] = []
    for name in kept:
        pool = [other for other, weight in weights.items() if weight.numel() == weights[name].numel()]
        pool = [other for other in pool if other not in chosen]
        chosen.append(pool[int(torch.randint(len(pool), (), generator=generator))])
    return chosen


def kept_modules(
    model, saliency: torch.Tensor, settings: Sure, generator: torch.Generator
) -> dict[str, torch.nn.Parameter]:
    """Name -> weight tensor of the modules that mask `paper` keeps, or of the `random` ones in their place.

    saliency: (modules,), in the order of `eligible`. Raises RelapseError where none of them is one that quantizers
    touch.
    """
    weights = eligible(model, settings)
    names = list(weights)
    kept = [names[index] for index in salient_modules(saliency, settings.percentile)]
    if settings.mask == "random":
        kept = same_sizes(kept, weights, generator)
    if not set(kept) & {f"{layer}.weight" for layer in linear_layers(model)}:
        raise RelapseError(
            f"percentile: {settings.percentile:g} with modules: {settings.modules} keeps {', '.join(kept)} and "
            "no weight that a quantizer touches, so that its robustness would mean nothing: lower percentile, or set "
            "modules: linear"
        )
    return {name: weights[name] for name in kept}
