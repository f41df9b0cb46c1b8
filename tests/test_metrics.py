"""Metrics and their intervals against values worked out by hand."""

import math

import numpy as np
import pytest
from entries import metric_settings

from relapse.metrics import METRICS
from relapse.metrics.bootstrap import clusters, mean_score, resamples
from relapse.metrics.generation import cut
from relapse.metrics.knowmem import ENDS
from relapse.metrics.privleak import min_k, wins
from relapse.metrics.rouge import rouge_l
from relapse.runtime.errors import RelapseError
from relapse.text.prompts import few_shot_prompt


def test_rouge_l_by_hand():
    # Longest common subsequence "born in 1961": 3 of 4 truth words, 3 of 5 generated: 2*(3/4)(3/5)/(3/4+3/5) = 2/3.
    assert rouge_l("born in Lund 1961", "she born in Oslo 1961") == pytest.approx(100 * 2 / 3)
    # No stemmer: "chemists" is not "chemist".
    assert rouge_l("chemist", "chemists") == 0
    assert rouge_l("chemist", "") == 0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" Lund\n\nQuestion: Who", " Lund"),
        (" Lund\nQuestion: Who", " Lund"),
        (" LundQuestion: Who", " Lund"),
        (" Lund\nor Oslo", " Lund\nor Oslo"),
        (" Lund\nQuestion: Who\n\n", " Lund"),
        ("\n\n", ""),
    ],
)
def test_answers_end_at_a_blank_line_or_the_next_question(text, answer):
    assert cut(text, ENDS) == answer
    assert cut(text, ()) == text


def test_few_shot_prompt():
    pairs = [{"question": "A?", "answer": "b"}, {"question": "C?", "answer": "d"}]
    assert few_shot_prompt(pairs) == "Question: A?\nAnswer: b\n\nQuestion: C?\nAnswer: d\n\n"


def test_min_k_averages_the_least_likely_tokens():
    # 40 % of 7 tokens is 2.8, floor 2: the two lowest are -5 and -4.
    assert min_k(np.array([-1.0, -5.0, -2.0, -4.0, -0.5, -3.0, -0.1]), 40) == 4.5
    with pytest.raises(RelapseError, match="2 predicted tokens"):
        min_k(np.array([-1.0, -2.0]), 40)


def test_auc_counts_pairs_and_halves_ties():
    forget, holdout = np.array([1.0, 3.0]), np.array([2.0, 3.0])
    # holdout -2 beats forget -3 only; holdout -3 ties with forget -3: (1 + 0.5) / 4.
    assert wins(forget, holdout).tolist() == [[0, 1], [0, 0.5]]


def leak_records(forget, holdout):
    return [{"split": "forget", "score": score} for score in forget] + [
        {"split": "holdout", "score": score} for score in holdout
    ]


def test_privleak_by_hand():
    privleak = METRICS.get("privleak")
    model = leak_records([1.0, 3.0], [2.0, 2.0])  # AUC: forget 3 > holdout 2 twice of four: 1/2
    retrain = leak_records([3.0, 3.0], [2.0, 4.0])  # AUC 1/2
    member = leak_records([1.0, 1.0], [2.0, 2.0])  # AUC 0: the holdout never looks more familiar
    settings = metric_settings("privleak")
    assert privleak.score(model, settings, 50, retrain).value == 0
    assert privleak.score(member, settings, 50, retrain).value == -100
    # The paper's number as reference: 100 * (0.5 - 0.4) / 0.4
    assert privleak.score(model, metric_settings("privleak", reference=0.4), 50, None).value == pytest.approx(25)
    # retrain measured against itself is 0, in every resample, since model and reference are resampled together.
    score = privleak.score(retrain, settings, 50, retrain)
    assert (score.value, score.ci_low, score.ci_high, score.n) == (0, 0, 0, 4)
    with pytest.raises(RelapseError, match="--reference"):
        privleak.score(model, settings, 50, None)
    with pytest.raises(RelapseError, match="reference AUC"):
        privleak.score(model, settings, 50, member)


def test_mean_score_and_its_interval():
    score = mean_score([{"score": value} for value in (0.0, 100.0)], 4000, "coin")
    # A resample of two has mean 0, 50, 100 with probability 1/4, 1/2, 1/4: both ends are inside the 95 %.
    assert (score.value, score.ci_low, score.ci_high, score.n) == (50, 0, 100, 2)
    constant = mean_score([{"score": 7.0}] * 5, 100, "constant")
    assert (constant.ci_low, constant.ci_high) == (7, 7)


def test_interval_of_a_mean_is_about_two_standard_errors():
    scores = np.random.default_rng(0).normal(50, 10, 400)
    score = mean_score([{"score": value} for value in scores], 4000, "normal")
    half = 1.96 * scores.std() / math.sqrt(len(scores))
    assert score.ci_high - score.value == pytest.approx(half, rel=0.1)
    assert score.value - score.ci_low == pytest.approx(half, rel=0.1)


def test_examples_of_one_group_are_drawn_together():
    assert clusters(["ada", None, "ivo", "ada", None]).tolist() == [0, 1, 2, 0, 3]
    # 20 people with 8 examples each, all known or all forgotten: as uncertain as 20 examples, and not as 160.
    scores = [100.0 * (person % 2) for person in range(20) for _ in range(8)]
    people = [{"score": score, "group": f"person {place // 8}"} for place, score in enumerate(scores)]
    apart = mean_score([{"score": score} for score in scores], 4000, "people")
    together = mean_score(people, 4000, "people")
    assert together.value == apart.value == 50 and together.n == 160
    assert together.ci_high - together.value == pytest.approx(1.96 * 50 / math.sqrt(20), rel=0.1)
    assert apart.ci_high - apart.value == pytest.approx(1.96 * 50 / math.sqrt(160), rel=0.1)


def test_groups_of_different_size_weigh_by_their_examples():
    # One person with 3 examples of 100 and one with a single 0: draws of two people give 100, 75 or 0.
    records = [{"score": 100.0, "group": "a"}] * 3 + [{"score": 0.0, "group": "b"}]
    score = mean_score(records, 4000, "sizes")
    assert (score.value, score.ci_low, score.ci_high) == (75, 0, 100)


def test_privleaks_texts_are_drawn_by_groups():
    privleak = METRICS.get("privleak")
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(0, 1, 20), 4)  # 20 people, whose 4 texts are alike
    records = leak_records(values[:40], values[40:])
    grouped = [record | {"group": f"{place // 4}"} for place, record in enumerate(records)]
    settings = metric_settings("privleak", reference=0.5)
    apart, together = (privleak.score(its, settings, 1000, None) for its in (records, grouped))
    assert together.value == apart.value
    assert together.ci_high - together.ci_low > 1.7 * (apart.ci_high - apart.ci_low)


def test_resamples_depend_on_their_name_alone():
    assert (resamples(5, 3, "a") == resamples(5, 3, "a")).all()
    assert (resamples(50, 3, "a") != resamples(50, 3, "b")).any()
