"""Absorption: what of an unlearning update survives a quantizer's grid.

With t the target's weights, u the unlearned model's, Q the quantizer (de-quantized values), over the weights it rounds:

    surviving share = <Q(u) - Q(t), u - t> / ||u - t||^2.

1: the quantized models differ as much along the update as the models themselves do; 0: the quantized unlearned model is
the quantized target, as far as the update goes. Counting equal codes misleads: a grid that keeps an update on average
leaves most codes of a small update as they were.

What is expected of it, from the target's weights, the learning rate, the storage and the format alone, is theory.py's.

A calibrated quantizer rounds no weight by itself: GPTQ spreads the error of each over the others, AWQ scales channels
first. There Q(u) and Q(t) are the weights that its two checkpoints compute with, scaled back to the models' own (see
`quantization/folding.py`). Q(u) - Q(t) then holds the noise of two calibrations as well, which the scalar product with
the update averages out; the share is on average what it is above, while codes, a prediction and equal
values (`unchanged_value`) mean nothing there.

This module reads weights and grids, never scores.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from relapse.analysis.bfloat16 import edge
from relapse.quantization import Calibrated, DataFree, Grid
from relapse.quantization.settings import QuantizerSettings
from relapse.unlearning.elsewhere import MadeElsewhere
from relapse.unlearning.settings import MethodSettings

BINS = 50  # of |w| over the group's largest, in the histogram
QUANTILES = (0.1, 0.5, 0.9, 0.99)
SOME = 1_000_000  # values of a layer that quantiles are taken from


# ("target" or "model", a parameter's name, its weights (out, in)) -> Q(w), and the grid that it lies on if any.
Rounding = Callable[[str, str, Tensor], tuple[Tensor, Grid | None]]


def on_grid(backend: DataFree, quantizer: QuantizerSettings) -> Rounding:
    """The rounding of a backend that needs only the weights."""
    return lambda which, name, weight: (backend.rounded(weight, quantizer), backend.grid(weight, quantizer))


def from_checkpoints(backend: Calibrated, target: Path, model: Path) -> Rounding:
    """The rounding of a calibrated backend, read from its checkpoints of the target and of the unlearned model."""
    effective = {"target": backend.effective(target), "model": backend.effective(model)}
    return lambda which, name, weight: (effective[which][name], None)


@dataclass
class Sums:
    """What is added up over the weights of a layer, or of all layers."""

    weights: int = 0
    changed: int = 0
    unchanged_value: int = 0
    unchanged_code: int | None = 0
    squared: float = 0.0
    survived: float = 0.0

    @classmethod
    def of(cls, change: Tensor, quantized_change: Tensor, same_code: Tensor | None) -> "Sums":
        """The sums of one layer, from (out, in) each. same_code: booleans; None where there is no grid."""
        return cls(
            weights=change.numel(),
            changed=int((change != 0).sum()),
            unchanged_value=int(((change != 0) & (quantized_change == 0)).sum()),
            unchanged_code=None if same_code is None else int(((change != 0) & same_code).sum()),
            squared=change.square().sum(dtype=torch.float64).item(),
            survived=(quantized_change * change).sum(dtype=torch.float64).item(),
        )

    def __iadd__(self, other: "Sums") -> "Sums":
        for name in vars(self):
            parts = getattr(self, name), getattr(other, name)
            setattr(self, name, None if None in parts else sum(parts))
        return self

    def shares(self) -> dict[str, float | None]:
        """Surviving share, fraction of weights changed, and of those the fractions that it shows no change of.

        unchanged_value: Q(u) = Q(t); unchanged_code: the same level of the grid, whose scale may have moved a little
        with a group's largest weight.
        """
        return {
            "surviving": _ratio(self.survived, self.squared),
            "changed": _ratio(self.changed, self.weights),
            "unchanged_value": _ratio(self.unchanged_value, self.changed),
            "unchanged_code": _ratio(self.unchanged_code, self.changed),
        }


@dataclass
class Histogram:
    """Where on the grid weights lie, changed ones among them: sums over bins of |t| / the group's largest |t|."""

    weights: Tensor = field(default_factory=lambda: torch.zeros(BINS, dtype=torch.float64))
    changed: Tensor = field(default_factory=lambda: torch.zeros(BINS, dtype=torch.float64))
    squared: Tensor = field(default_factory=lambda: torch.zeros(BINS, dtype=torch.float64))
    survived: Tensor = field(default_factory=lambda: torch.zeros(BINS, dtype=torch.float64))
    boundaries: list[float] = field(default_factory=list)

    def add(self, place: Tensor, change: Tensor, quantized_change: Tensor) -> None:
        """Add a layer's weights: place, change and change of the quantized value, (out, in) each."""
        bins = (place.flatten() * BINS).long().clamp(0, BINS - 1)
        for total, values in (
            (self.weights, torch.ones_like(change)),
            (self.changed, change != 0),
            (self.squared, change.square()),
            (self.survived, quantized_change * change),
        ):
            total.index_add_(0, bins, values.flatten().double())

    def as_json(self) -> dict[str, list[float]]:
        sums = {name: getattr(self, name).tolist() for name in ("weights", "changed", "squared", "survived")}
        return {"edges": [number / BINS for number in range(BINS + 1)], **sums, "boundaries": self.boundaries}


def absorption(
    target: Mapping[str, Tensor],
    unlearned: Mapping[str, Tensor],
    layers: list[str],
    rounding: Rounding,
    method: MethodSettings | MadeElsewhere,
) -> dict:
    """What of the update from `target` to `unlearned` survives a quantizer, in all and per layer.

    target, unlearned: parameter name -> float32 tensor. layers: the parameters that quantizers round. method: how the
    model was unlearned. A share whose denominator is 0 is None. What needs a grid (histogram, codes, sizes
    against the local step) is None where weights are not rounded one by one.
    """
    total, by_layer, histogram = Sums(), {}, Histogram()
    run = method if isinstance(method, MethodSettings) and method.parameters == "full" else None
    in_bfloat16 = run is not None and run.storage == "bfloat16"
    half_steps, sizes, beyond = [], [], 0.0
    limit = edge(run.lr) if run and in_bfloat16 else math.inf
    for name in layers:
        before, after = target[name], unlearned[name]
        change = after - before
        beyond += change[before.abs() >= limit].square().sum(dtype=torch.float64).item()
        (quantized_before, grid), (quantized_after, new_grid) = (
            rounding(which, name, weight) for which, weight in (("target", before), ("model", after))
        )
        quantized_change = quantized_after - quantized_before
        same_code = grid.code(before) == new_grid.code(after) if grid and new_grid else None
        layer = Sums.of(change, quantized_change, same_code)
        total += layer
        by_layer[name] = layer.shares() | {"squared": layer.squared}
        if not grid:
            continue
        largest = grid.levels.abs().max()
        histogram.add(before.abs() / (grid.scale.abs() * largest), change, quantized_change)
        middle = (grid.levels[1:] + grid.levels[:-1]) / 2 / largest
        histogram.boundaries = middle[middle > 0].tolist()
        half_steps.append(some(grid.local_step(torch.zeros_like(before)) / 2))
        sizes.append(some((change.abs() / grid.local_step(before))[change != 0]))
    outside = sum(
        (unlearned[name] - target[name]).square().sum(dtype=torch.float64).item()
        for name in sorted(target.keys() - set(layers))  # in one order, so that two runs give the same digits
    )
    return total.shares() | {
        "outside": _ratio(outside, outside + total.squared),
        "edge": limit if in_bfloat16 else None,
        "beyond_edge": _ratio(beyond, total.squared) if in_bfloat16 else None,
        "half_step": torch.cat(half_steps).median().item() if half_steps else None,
        "change_over_local_step": quantiles(torch.cat(sizes)) if sizes else None,
        "layers": by_layer,
        "histogram": histogram.as_json() if half_steps else None,
    }


def quantiles(values: Tensor) -> dict[str, float] | None:
    """QUANTILES of the values, (n,), as p10 and so on; None of no values."""
    if not len(values):
        return None
    ranks = {f"p{100 * quantile:g}": max(1, round(quantile * len(values))) for quantile in QUANTILES}
    return {name: values.kthvalue(rank).values.item() for name, rank in ranks.items()}


def some(values: Tensor) -> Tensor:
    """At most SOME of the values, evenly spaced, (n,): enough for the quantiles of a large layer."""
    flat = values.flatten()
    return flat[:: -(-len(flat) // SOME)] if len(flat) > SOME else flat


def _ratio(above: float | None, below: float) -> float | None:
    return above / below if below and above is not None else None
