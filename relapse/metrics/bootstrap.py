"""Percentile bootstrap over examples, seeded by what is measured."""

import numpy as np

from relapse.metrics import Score
from relapse.seeding import seed_for

LEVEL = (2.5, 97.5)


def resamples(n: int, samples: int, *name: object) -> np.ndarray:
    """Indices (samples, n) drawn with replacement; the draw called `name` is the same on every call."""
    return np.random.default_rng(seed_for(*name)).integers(0, n, size=(samples, n))


def interval(draws: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of bootstrap draws (samples,)."""
    low, high = np.percentile(draws, LEVEL)
    return float(low), float(high)


def mean_score(records: list[dict], samples: int, *name: object) -> Score:
    """Mean of the records' scores and its interval."""
    scores = np.array([record["score"] for record in records])
    low, high = interval(scores[resamples(len(scores), samples, "bootstrap", *name)].mean(axis=1))
    return Score(float(scores.mean()), low, high, len(scores))
