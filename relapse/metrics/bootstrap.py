"""Percentile bootstrap over clusters of examples, seeded by what is measured.

Scores about one person rise and fall together, so that two passages and six questions about a person are
no eight independent examples. Records with the same `group` (a person, or a book or chapter) are one cluster and are
drawn together; a record without a group is a cluster of its own.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from relapse.metrics import Score
from relapse.runtime.seeds import seed_for

LEVEL = (2.5, 97.5)


def resamples(n: int, samples: int, *name: object) -> np.ndarray:
    """How often each of n clusters is among n drawn with replacement, (samples, n).

    The draw called `name` is the same on every call.
    """
    return np.random.default_rng(seed_for(*name)).multinomial(n, np.full(n, 1 / n), size=samples)


def clusters(groups: Sequence[str | None]) -> np.ndarray:
    """The number of each example's cluster, (n,), from the group of each example; None is a cluster of its own."""
    numbers: dict[Hashable, int] = {}
    keys = (place if group is None else group for place, group in enumerate(groups))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def example_counts(records: Sequence[dict], samples: int, *name: object) -> np.ndarray:
    """How often each of n records is in each resample of their clusters, (samples, n)."""
    cluster = clusters([record.get("group") for record in records])
    return resamples(int(cluster.max()) + 1, samples, *name)[:, cluster]


def interval(draws: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of bootstrap draws (samples,)."""
    low, high = np.percentile(draws, LEVEL)
    return float(low), float(high)


def mean_score(records: list[dict], samples: int, *name: object) -> Score:
    """Mean of the records' scores and its interval."""
    scores = np.array([record["score"] for record in records])
    counts = example_counts(records, samples, "bootstrap", *name)
    low, high = interval(counts @ scores / counts.sum(axis=1))
    return Score(float(scores.mean()), low, high, len(scores))
