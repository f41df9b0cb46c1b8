"""Training of weights on one side of bfloat16's edge alone: a control that separates storage from where weights move.

Parameters kept in bfloat16 move only where a step is not lost, which is below an edge (analysis/bfloat16.py). With
`storage: float32` and `region: below_edge` the same weights move, with every digit kept; with `beyond_edge` the others.
"""

from collections.abc import Iterable

import torch

from relapse.analysis.bfloat16 import edge
from relapse.unlearning.settings import MethodSettings


def regions(parameters: Iterable[torch.Tensor], settings: MethodSettings) -> list[torch.Tensor] | None:
    """For each parameter, which of its values may move: booleans of its shape; None where all may.

    By the values that the parameters have now, the target's, and the edge of a step of lr.
    """
    if settings.region == "all":
        return None
    limit = edge(settings.lr)
    return [(tensor.detach().abs() < limit) == (settings.region == "below_edge") for tensor in parameters]


def let_regions_through(parameters: Iterable[torch.Tensor], regions: list[torch.Tensor] | None) -> None:
    """Set the gradient to 0 wherever a value may not move: from the first step on, AdamW then leaves it where it is."""
    for parameter, moves in zip(parameters, regions or (), strict=regions is not None):
        if parameter.grad is not None:
            parameter.grad.mul_(moves)
