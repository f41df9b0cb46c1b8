"""Magnitude pruning through torch.nn.utils.prune: the smallest weights of every matrix become zero.

No quantizer, but the same question: pruning is nothing but the cell around zero that every coarse grid has. All other
weights keep their values. It needs only the weights, and nothing is retrained afterwards.
"""

import torch
from pydantic import Field
from torch.nn.utils.prune import L1Unstructured

from relapse.quantization import BACKENDS, RoundedWeights
from relapse.quantization.settings import QuantizerSettings


class PruneSettings(QuantizerSettings):
    """A quantizer of this backend."""

    share: float = Field(gt=0, lt=1, description="Share of every matrix's weights, the smallest, that become zero.")


class Prune(RoundedWeights):
    """torch's L1Unstructured on one matrix at a time."""

    name = "prune"
    settings = PruneSettings
    examples = ({"share": 0.1}, {"share": 0.3})

    def rounded(self, weight: torch.Tensor, settings: PruneSettings) -> torch.Tensor:
        kept = torch.ones_like(weight)
        return (weight * L1Unstructured(settings.share).compute_mask(weight, kept)).float()


BACKENDS.register(Prune())
