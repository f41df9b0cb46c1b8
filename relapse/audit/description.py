"""What an update looks like, in sentences: where its change lies, which matrices have none, and whether it is low-rank.

It describes an Update, and for the rank the matrix with the largest change. Formats play no part.
"""

import torch
from torch import Tensor

from relapse.audit.compare import LOWEST, Update
from relapse.models.files import read_model
from relapse.models.weights import StoredWeights

NEARLY_ALL = 0.95  # of the squared change, for an edge to be named
MANY = 0.1  # of the weights must lie beyond the edge, or there is none
DIRECTIONS = 64  # largest rank that is looked for
CAPTURED = 0.95  # of a matrix's squared change, for its rank to be named


def edge(update: Update) -> tuple[float, float] | None:
    """(edge, share of the squared change in weights below it), where nearly all change lies below a power of two.

    The smallest power of two that holds NEARLY_ALL of the squared change; None where hardly any weight is larger.
    """
    weights, _, squared = update.sizes
    if not squared.sum():
        return None
    below = squared.cumsum(0) / squared.sum()
    place = int((below >= NEARLY_ALL).nonzero()[0])
    if weights[place + 1 :].sum() < MANY * weights.sum():
        return None
    return 2.0 ** (LOWEST + place + 1), below[place].item()


def rank(change: Tensor) -> tuple[int, float] | None:
    """(r, share of the squared change in its first r directions) of a matrix (out, in); None where it is not low-rank.

    r is the smallest that holds CAPTURED of it. It must be at most DIRECTIONS and an eighth of the smaller side.
    """
    most = min(DIRECTIONS, min(change.shape) // 8)
    if most < 1:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, values, _ = torch.svd_lowrank(change.float(), q=min(2 * most, *change.shape), niter=4)
    held = values.square().cumsum(0) / change.square().sum()
    enough = (held[:most] >= CAPTURED).nonzero()
    if not len(enough):
        return None
    place = int(enough[0])
    return place + 1, held[place].item()


def largest_change(target, update: Update) -> Tensor:
    """The change (out, in) of the matrix that has changed most."""
    known = read_model(target)
    layers = [f"{layer}.weight" for layer in known.linear] if known.transposed else []
    name = update.largest[1]
    return StoredWeights(update.folder, layers)[name] - StoredWeights(target, layers)[name]


def describe(target, update: Update) -> list[str]:
    """Sentences about an update, the most telling first."""
    found = []
    if update.squared and (ranked := rank(largest_change(target, update))):
        found.append(
            f"rank {ranked[0]}: {100 * ranked[1]:.0f} % of the change of {update.largest[1]} lies in so many "
            "directions, as that of a merged adapter does"
        )
    if bound := edge(update):
        found.append(
            f"{100 * bound[1]:.0f} % of the squared change lies in weights below {bound[0]:.2g}, as where weights are "
            "stored in bfloat16 between small steps"
        )
    found.append(f"{100 * update.changed / max(update.weights, 1):.1f} % of the weights in matrices have changed")
    if update.unchanged:
        found.append(f"nothing changed in {len(update.unchanged)} of {update.matrices} matrices")
    if update.outside_share is not None:
        found.append(
            f"{100 * update.outside_share:.0f} % of the squared change lies in layers that formats leave alone "
            "(embeddings, norms, output head)"
        )
    return found
