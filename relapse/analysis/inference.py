"""Intervals and p values of what a study has measured: over people with one seed, over training runs with several.

**One seed (S = 1).** Everything is about one training run, and so is exploratory. The interval is the 95 % percentile
interval of a bootstrap over clusters of examples (metrics/bootstrap.py): how the number would vary with other people,
and nothing about another training run. A p value is a normal distribution's with the bootstrap's standard error.

**Several seeds (S >= 2).** The seed is the unit. Each seed has one value, from all examples of the corpus; the interval
is Student's, mean +- t(0.975, S - 1) sd / sqrt(S), and so is the p value. It is about the mean over training runs on
this corpus. The people are the same for every seed: what the values owe to them is in all values alike, is no part of
their spread, and is not generalised over. With 2, 3 and 4 seeds t is 12.7, 4.3 and 3.2, and the interval as wide.

A share is the ratio of two means over seeds, which a seed that forgot little cannot throw off as it would a mean of
ratios. Its interval is Fieller's (J. R. Stat. Soc. B 16, 1954): all r for which the t interval of `above - r below`
holds 0, and so Student's where the denominator is the same for every seed.

Models and quantizers are compared within a seed (and within a replicate), so that what they share cancels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.special import stdtr, stdtrit

from relapse.metrics.bootstrap import LEVEL, interval

POSITIVE = 0.975  # of the replicates must have something to recover, for the share to have an interval


@dataclass(frozen=True)
class Known:
    """A score averaged over examples, or a sum or difference of such, in points of 100.

    seeds: per seed, (S,). draws: per bootstrap replicate, (B,), where there is one seed; (0,) where there are several.
    """

    seeds: np.ndarray
    draws: np.ndarray

    @property
    def measured(self) -> float:
        """The mean over seeds."""
        return float(self.seeds.mean())

    def __add__(self, other: "Known") -> "Known":
        return Known(self.seeds + other.seeds, self.draws + other.draws)

    def __sub__(self, other: "Known") -> "Known":
        return Known(self.seeds - other.seeds, self.draws - other.draws)

    def __mul__(self, number: float) -> "Known":
        return Known(self.seeds * number, self.draws * number)

    def __truediv__(self, other: "Known") -> "Known":
        return Known(self.seeds / other.seeds, self.draws / other.draws)


def _t(seeds: int) -> float:
    """The 97.5 % quantile of Student's distribution for this number of seeds: 2.776 for 5."""
    return float(stdtrit(seeds - 1, LEVEL[1] / 100))


def standard_error(known: Known) -> tuple[float, float]:
    """Standard error and its degrees of freedom: the seeds', or with one seed the bootstrap's, of infinitely many."""
    count = len(known.seeds)
    if count == 1:
        return float(known.draws.std(ddof=1)), math.inf
    return float(known.seeds.std(ddof=1)) / math.sqrt(count), count - 1


def mean_interval(known: Known) -> tuple[float, float]:
    """95 % interval of the mean, by the module's rule."""
    if len(known.seeds) == 1:
        return interval(known.draws)
    half = _t(len(known.seeds)) * standard_error(known)[0]
    return known.measured - half, known.measured + half


def share(above: Known, below: Known) -> tuple[float | None, float | None, float | None]:
    """above / below, and its 95 % interval by the module's rule.

    All None where `below` is not positive; no interval where `below` cannot be distinguished from 0.
    """
    if below.measured <= 0:
        return None, None, None
    value = above.measured / below.measured
    count = len(above.seeds)
    if count == 1:
        positive = below.draws > 0
        if positive.mean() < POSITIVE:
            return value, None, None
        return value, *interval(above.draws[positive] / below.draws[positive])
    # With e = above - value below, whose mean is 0, and k = t^2 / S, r = value + x holds where
    # x^2 mean(below)^2 <= k var(e - x below): a quadratic in x.
    rest = above.seeds - value * below.seeds
    k = _t(count) ** 2 / count
    (var_rest, both), (_, var_below) = k * np.cov(rest, below.seeds)
    square = below.measured**2 - var_below
    if square <= 0:
        return value, None, None
    root = math.sqrt(both**2 + square * var_rest)
    return value, float(value + (-both - root) / square), float(value + (-both + root) / square)


def one_sided(value: float, error: float, degrees: float = math.inf) -> float:
    """p value of `the true value is 0 or less`, for an estimate with this standard error and degrees of freedom."""
    if not error:
        return 0.0 if value > 0 else 1.0
    if math.isinf(degrees):
        return NormalDist().cdf(-value / error)
    return float(stdtr(degrees, -value / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values (Scand. J. Stat. 6, 1979), in the order given.

    The i-th smallest of m (from 0) is multiplied by m - i; no adjusted value is below one before it, or above 1.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
