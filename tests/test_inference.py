"""Intervals over people and over seeds, against values worked out by hand."""

import math

import numpy as np
import pytest

from relapse.analysis import inference
from relapse.analysis.inference import Known
from relapse.analysis.retained import example_weights


def over_seeds(*values):
    return Known(np.array(values, dtype=float), np.empty(0))


def of_one_seed(draws):
    draws = np.asarray(draws, dtype=float)
    return Known(draws.mean(keepdims=True), draws)


def test_an_interval_over_five_seeds_is_students():
    # Mean 30, variance (100 + 25 + 0 + 25 + 100) / 4 = 62.5, t(0.975, 4) = 2.776.
    known = over_seeds(20, 25, 30, 35, 40)
    half = 2.776 * math.sqrt(62.5 / 5)
    assert inference.mean_interval(known) == pytest.approx((30 - half, 30 + half), abs=0.01)
    error, degrees = inference.standard_error(known)
    assert (error, degrees) == (pytest.approx(math.sqrt(12.5)), 4)
    # The two sides of the same distribution: at 2.776 standard errors, 2.5 % lie beyond.
    assert inference.one_sided(2.776 * error, error, degrees) == pytest.approx(0.025, abs=1e-4)


@pytest.mark.parametrize(("seeds", "t"), [(2, 12.706), (3, 4.303), (10, 2.262)])
def test_few_seeds_make_a_wide_interval(seeds, t):
    values = np.arange(seeds)
    low, high = inference.mean_interval(over_seeds(*values))
    assert high - low == pytest.approx(2 * t * values.std(ddof=1) / math.sqrt(seeds), rel=1e-3)


def test_one_seeds_interval_is_the_percentiles_of_its_draws():
    known = of_one_seed(np.arange(1001))
    assert inference.mean_interval(known) == pytest.approx((25, 975))
    assert inference.standard_error(known) == (pytest.approx(np.arange(1001).std(ddof=1)), math.inf)


def test_a_share_is_students_where_every_seed_has_forgotten_as_much():
    value, low, high = inference.share(over_seeds(10, 20, 30), over_seeds(50, 50, 50))
    half = 4.303 * 10 / math.sqrt(3) / 50
    assert (value, low, high) == pytest.approx((0.4, 0.4 - half, 0.4 + half), abs=1e-3)


def test_at_the_ends_of_fiellers_interval_the_difference_is_just_not_shown():
    above, below = over_seeds(11, 18, 33, 20, 29), over_seeds(48, 39, 61, 55, 42)
    value, low, high = inference.share(above, below)
    assert value == pytest.approx(111 / 245) and low < value < high
    for end, side in ((low, 0), (high, 1)):
        assert inference.mean_interval(above - below * end)[side] == pytest.approx(0, abs=1e-9)


def test_a_seed_that_forgot_little_does_not_decide_the_share():
    # Ratios of 0.5, 0.5, 0.5, 0.5 and 5: their mean is 1.4 +- 2.5.
    above, below = over_seeds(20, 20, 20, 20, 10), over_seeds(40, 40, 40, 40, 2)
    value, low, high = inference.share(above, below)
    assert value == pytest.approx(90 / 162) and 0 < low < high < 1.2


def test_a_share_of_nothing():
    assert inference.share(over_seeds(1, 2), over_seeds(-3, 1)) == (None, None, None)
    # Forgotten: 10 +- 12.7 * 5, which may be nothing.
    assert inference.share(over_seeds(5, 5), over_seeds(5, 15)) == (0.5, None, None)
    assert inference.share(of_one_seed([1, 1, 1]), of_one_seed([-1, 2, 5])) == (0.5, None, None)


def test_what_seeds_share_cancels():
    """Seeds differ by 40 points, the models within a seed always by 5."""
    full, quantized = over_seeds(20, 40, 60), over_seeds(25, 45, 65)
    assert inference.mean_interval(quantized - full) == pytest.approx((5, 5))


GROUPS = {"v": ["ada", "ada", "ivo", "ivo"], "k": ["ada", "ivo", "ada", "ivo"]}


def test_a_person_is_drawn_as_a_whole_and_for_both_metrics():
    weights = example_weights("bios", GROUPS, 500)
    assert all(its.sum(axis=1) == pytest.approx(1) for its in weights.values())
    assert (weights["v"][:, 0] == weights["v"][:, 1]).all() and (weights["k"][:, 0] == weights["k"][:, 2]).all()
    assert weights["v"][:, 0] == pytest.approx(weights["k"][:, 0])
    # Two people drawn from two: a quarter of the replicates is without the first.
    assert (weights["v"][:, 0] == 0).mean() == pytest.approx(0.25, abs=0.06)


def test_examples_without_a_group_are_drawn_metric_by_metric():
    weights = example_weights("bios", {"v": [None, None], "k": [None, None, None]}, 500)
    assert all(its.sum(axis=1) == pytest.approx(1) for its in weights.values())
    assert abs(np.corrcoef(weights["v"][:, 0], weights["k"][:, 0])[0, 1]) < 0.15
    mixed = example_weights("bios", GROUPS | {"k": ["ada", "ivo", "ada", None]}, 500)
    assert all(its.sum(axis=1) == pytest.approx(1) for its in mixed.values())  # no replicate is without a metric
