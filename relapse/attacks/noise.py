"""Noise as large as a quantizer's error: w + n with n Gaussian and ||n|| = ||Q(w) - w||, matrix by matrix.

A control. Where a grid brings knowledge back because it absorbs the update, noise does not. If noise does too,
any perturbation of this size would.
"""

import torch
from pydantic import Field
from torch import Tensor

from relapse.attacks import ATTACKS, Attack, Attacked
from relapse.attacks.perturbation import PerturbSettings, perturb
from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Whole


class NoiseSettings(PerturbSettings):
    """An entry of noise."""

    draw: Whole = Field(0, description="Another number is another noise.")


def gaussian(error: Tensor, seed: int) -> Tensor:
    """Noise with the norm of `error`, (out, in), drawn from `seed`."""
    drawn = torch.randn(error.shape, generator=torch.Generator().manual_seed(seed)).to(error.device)
    return drawn * (error.norm() / drawn.norm())


class Noise(Attack):
    """Every model of a seed gets the same noise, scaled to its own norm."""

    name = "noise"
    settings = NoiseSettings
    examples = ({},)
    needs_quantizer = True

    def apply(self, attacked: Attacked, settings: NoiseSettings) -> None:
        def change(layer: str, weight: Tensor, error: Tensor) -> Tensor:
            return gaussian(error, seed_for(attacked.run.seed, "noise", settings.draw, layer))

        perturb(attacked, change)


ATTACKS.register(Noise())
