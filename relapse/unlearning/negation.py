"""The end of a task vector (arXiv 2212.04089): what a run has learned is taken from the target that it began with.

The method defines what the run learns.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from relapse.runtime.seeds import seed_for
from relapse.unlearning import lora
from relapse.unlearning.storage import RandomBits, store


class Negation:
    """target - scale (reinforced - target), of the parameters that a run reinforces.

    arithmetic `float32` rounds the result once to what `storage` can hold; `storage` rounds the difference, its product
    with scale and the result, as arithmetic with tensors of that format does. With LoRA the target is 0 and B is what
    is negated, in float32 and before it is merged.
    """

    def __init__(self, model, parameters: Sequence, settings: Any, seed: int):
        adapters = settings.parameters == "lora"
        self.parameters = lora.second_factors(model) if adapters else list(parameters)
        self.target = [parameter.detach().clone() for parameter in self.parameters]
        self.scale = settings.scale
        self.random_bits = RandomBits(seed_for(seed, "negation"))  # looks change no step
        self.storage = "float32" if adapters else settings.storage
        self.between = self.storage if settings.arithmetic == "storage" else "float32"

    @torch.no_grad()
    def apply(self) -> None:
        """Negate the parameters in place."""
        for parameter, target in zip(self.parameters, self.target, strict=True):
            change = parameter - target
            store([change], self.between, self.random_bits)
            change *= self.scale
            store([change], self.between, self.random_bits)
            parameter.copy_(target - change)
        store(self.parameters, self.storage, self.random_bits)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The negated model for a moment, which a stop rule looks at; what the run learns goes on afterwards."""
        reinforced = [parameter.detach().clone() for parameter in self.parameters]
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, kept in zip(self.parameters, reinforced, strict=True):
                    parameter.copy_(kept)
