"""From weights, learning rate, storage and format to the surviving share, before anything is trained.

Weights walk as AdamW moves them when every weight's gradient is a normal variable of variance 1, independent from step
to step, around a mean that is drawn once for every weight, normal with standard deviation `drift`. After each step they
are rounded as `storage` rounds them. Then both ends are rounded by the format, and the surviving share is what
absorption.py measures on a trained model.

Where the edge is near that of a cell the share grows with the number of steps, which is taken from the run; nothing
else of it is. The one free number is the drift. 0.3 was chosen on the mechanism study (seeds 0 to 2), where it gives
what was measured near the edge as well; the range is 0.1 (almost noise) to 1 (most weights keep their direction).
docs/theory.md compares it with other studies. This module needs weights and rates, but no model and no scores.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from relapse.analysis.bfloat16 import edge
from relapse.runtime.seeds import seed_for
from relapse.unlearning.region import regions
from relapse.unlearning.schedule import rate
from relapse.unlearning.settings import MethodSettings
from relapse.unlearning.storage import RandomBits, Rounding

DRIFTS = (0.1, 0.3, 1.0)
BETAS = (0.9, 0.999)  # AdamW's, as torch has them
WEIGHTS = 2**15  # walked, whole rows of every matrix
EDGES = tuple(0.01 * 2 ** (k / 3) for k in range(20))  # 0.01 to 0.8, in standard deviations, for `zero_cell`
PUSH = 1 / 2  # of the edge: how far `zero_cell` moves a weight, which stops at the edge

Rounded = Callable[[Tensor], Tensor]


def path_by_edge(settings: MethodSettings, steps: int) -> dict[float, float]:
    """Edge -> share of the path walked while bfloat16's edge is there, the sum of the rates as its length.

    The edge of a schedule is no single number: under a linear decay from a rate just below a power of two, three
    quarters of the path have the first edge, three sixteenths half of it, and so on.
    """
    rates = [rate(settings, step, steps) for step in range(1, steps + 1)]
    found: dict[float, float] = {}
    for each in rates:
        found[edge(each)] = found.get(edge(each), 0.0) + each / sum(rates)
    return found


def sample(target: Mapping[str, Tensor], layers: Sequence[str]) -> list[Tensor]:
    """About WEIGHTS weights: evenly spaced whole rows of every matrix (out, in), at least one of each."""
    chosen = []
    for name in layers:
        weight = target[name]
        rows = min(len(weight), max(1, round(WEIGHTS / len(layers) / weight.shape[1])))
        chosen.append(weight[:: len(weight) // rows][:rows].float())
    return chosen


def walk(
    weights: Tensor, settings: MethodSettings, steps: int, drift: float, limit: int | None = None, seed: int = 0
) -> Tensor:
    """The weights (N,), float32, after steps with gradients of variance 1 around means of deviation `drift`.

    The rate is that of each of the `steps` in a schedule that ends at the settings' `steps`, or else at `limit`, or
    else with this walk.
    """
    limit = settings.steps or limit or steps
    generator = torch.Generator().manual_seed(seed)
    moved, first, second = weights.clone(), torch.zeros_like(weights), torch.zeros_like(weights)
    rounding = Rounding([moved], settings.storage, RandomBits(seed_for(seed, "walk")))
    mean = drift * torch.randn(weights.shape, generator=generator)
    for step in range(1, steps + 1):
        direction = mean + torch.randn(weights.shape, generator=generator)
        if settings.optimizer == "sign":
            direction.sign_()
        else:
            first.mul_(BETAS[0]).add_(direction, alpha=1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(direction, direction, value=1 - BETAS[1])
            scale = (1 - BETAS[1] ** step) ** 0.5 / (1 - BETAS[0] ** step)
            direction = scale * first / second.sqrt()
        moved.sub_(direction, alpha=rate(settings, step, limit))
        rounding()
    moves = regions([weights], settings)
    return torch.where(moves[0], moved, weights) if moves else moved


def walked(
    target: Mapping[str, Tensor], layers: Sequence[str], settings: MethodSettings, steps: int, limit: int | None = None
) -> list[list[tuple]] | None:
    """(before, after) of every sampled matrix, a list for each of DRIFTS, after a run of `steps` steps.

    limit: as in `walk`. None with LoRA, whose steps are the adapters' and not the weights'.
    """
    if settings.parameters == "lora":
        return None
    before = sample(target, layers)
    flat = torch.cat([weight.flatten() for weight in before])
    found = []
    for drift in DRIFTS:
        parts = walk(flat, settings, steps, drift, limit).split([weight.numel() for weight in before])
        found.append([(weight, part.reshape(weight.shape)) for weight, part in zip(before, parts, strict=True)])
    return found


def surviving(pairs: Sequence[tuple[Tensor, Tensor]], rounded: Rounded) -> float | None:
    """Surviving share of the change over matrices (before, after); None where nothing moved."""
    above, below = (sum(parts) for parts in zip(*(parts_of_share(*pair, rounded) for pair in pairs), strict=True))
    return above / below if below else None


def parts_of_share(before: Tensor, after: Tensor, rounded: Rounded) -> tuple[float, float]:
    """Numerator and denominator of the surviving share of one matrix."""
    change = after - before
    above = ((rounded(after) - rounded(before)) * change).sum(dtype=torch.float64).item()
    return above, change.square().sum(dtype=torch.float64).item()


def predictions(walks: list[list[tuple]] | None, rounded: Rounded | None) -> dict[str, float | None]:
    """The surviving share that is expected under a format, and the lowest and highest over DRIFTS.

    None where there are no walks, or where a format looks at text and rounds no weight by itself (`rounded` is None).
    """
    shares = [surviving(pairs, rounded) for pairs in walks or [] if rounded]
    known = [share for share in shares if share is not None]
    return {
        "predicted": shares[DRIFTS.index(0.3)] if shares else None,
        "predicted_low": min(known, default=None),
        "predicted_high": max(known, default=None),
    }


def zero_cell(matrices: Sequence[Tensor], rounded: Rounded) -> float:
    """Half the width of the cell that holds zero, in standard deviations of the weights, each matrix (out, in).

    Measured, so that it serves formats whose cells differ from block to block: the largest edge among EDGES at which
    less than half of an update survives whose weights all lie below the edge and move by PUSH of it, up or down, but
    not past it. 0 where there is none.
    """
    spread, generator = deviation(matrices), torch.Generator().manual_seed(0)
    signs = [torch.randn(weight.shape, generator=generator).sign() for weight in matrices]
    found = 0.0
    for number in EDGES:
        limit = number * spread
        moved = [
            (weight, torch.where(weight.abs() < limit, (weight + PUSH * limit * sign).clamp(-limit, limit), weight))
            for weight, sign in zip(matrices, signs, strict=True)
        ]
        share = surviving(moved, rounded)
        if share is not None and share < 0.5:
            found = number
    return found


def deviation(matrices: Sequence[Tensor]) -> float:
    """Standard deviation of all weights together."""
    return torch.cat([weight.flatten() for weight in matrices]).std().item()
