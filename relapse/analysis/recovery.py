"""Recovery: does what was forgotten come back under a quantizer? Shares, intervals, verdicts, predictions.

For a model under quantizer q, with u its score in full precision, x its score under q, and t the target's under q,

    difference = x - u (points),    recovered share = (x - u) / (t - u),

for VerMem forget, KnowMem forget, and `knowledge`, the mean of the two. Intervals and p values are inference.py's: over
training runs where there are several seeds, over people where there is one.

Verdict, by a rule stated before any result:

- `nothing forgotten`: the interval of t - u reaches below FORGOTTEN points, so that it is not shown that there is
  anything to recover;
- `recovered`: the whole interval of the recovered share lies above MARGIN, and the corrected p value of `difference <=
0` is below ALPHA;
- `not detected`: the whole interval lies below MARGIN;
- `cannot tell`: everything else.

`equivalent`: two one-sided tests show the difference to lie within EQUIVALENCE points of 0 (TOST, corrected p < ALPHA):
"8 bit behaves like full precision" is a claim of its own, which the absence of a difference does not show.

What the study predicted is the family `primary`: Holm's correction is over these rows alone, for each of the two
questions. All other rows are `exploratory`, and corrected among themselves for each metric and question; those of one
seed do not cover another training run, whatever their p. `outcome` of a prediction, by its `expected`:

- `recovered` or `not detected`: `held` where the verdict is this one, `failed` where it is the other one;
- `equivalent`: `held` where it is, `failed` where the whole interval of the difference lies beyond EQUIVALENCE points;
- `cannot tell`: everything else.

Coarse rounding changes a model's scores even where the update survives it. A twin is a model that was made the same
way but for its storage in float32; with u', x' its scores,

    beyond_twin = ((x - u) - (x' - u')) / (t - u)

is the part of the recovered share that coarse rounding by itself would not have given. It compares like with like where
both have forgotten equally much (`stop_at`). With retrain in the twin's place it is `beyond_retrain`: what an attack
gives a model that never knew the text, as relearning and the best of k guesses do, is not knowledge that was hidden.

An attack stands where a quantizer does: x is the model's score after it, t the target's after the same.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from relapse.analysis.inference import Known, holm, mean_interval, one_sided, share, standard_error
from relapse.analysis.retained import KNOWLEDGE, Reader

ALPHA = 0.05
MARGIN = 0.10  # of the recovered share
FORGOTTEN = 5.0  # points of ROUGE-L times 100
EQUIVALENCE = 5.0  # points
METRICS = (*KNOWLEDGE, "knowledge")
PRIMARY, EXPLORATORY = "primary", "exploratory"
BEYOND = ("beyond_twin", "beyond_low", "beyond_high")
BEYOND_RETRAIN = ("beyond_retrain", "beyond_retrain_low", "beyond_retrain_high")


@dataclass(frozen=True)
class Recovery:
    """One row of recovery.csv. Scores in points of 100, `recovered` and what goes beyond another model shares; None
    where there is no such number, '' where nothing was predicted. quantizer: or the attack.
    """

    corpus: str
    model: str
    quantizer: str
    metric: str
    target: float
    full: float
    quantized: float
    difference: float
    diff_low: float
    diff_high: float
    recovered: float | None
    ci_low: float | None
    ci_high: float | None
    p: float
    verdict: str
    equivalent: str
    p_equivalent: float
    family: str = EXPLORATORY
    expected: str = ""
    outcome: str = ""
    beyond_twin: float | None = None
    beyond_low: float | None = None
    beyond_high: float | None = None
    beyond_retrain: float | None = None
    beyond_retrain_low: float | None = None
    beyond_retrain_high: float | None = None


def verdict(forgotten_low: float, low: float | None, high: float | None, p: float) -> str:
    """The rule of the module's docstring, from the interval of the share and the corrected p value."""
    if forgotten_low < FORGOTTEN:
        return "nothing forgotten"
    if low is None or high is None:
        return "cannot tell"
    if low > MARGIN and p < ALPHA:
        return "recovered"
    return "not detected" if high < MARGIN else "cannot tell"


def outcome(row: Recovery) -> str:
    """What became of a prediction, by the rule of the module's docstring; '' where there was none."""
    if not row.expected:
        return ""
    if row.expected == "equivalent":
        held, failed = row.equivalent == "yes", row.diff_low > EQUIVALENCE or row.diff_high < -EQUIVALENCE
    else:
        held, failed = row.verdict == row.expected, row.verdict in {"recovered", "not detected"} - {row.expected}
    return "held" if held else "failed" if failed else "cannot tell"


def recoveries(reader: Reader, predictions: Sequence[Mapping[str, str]] = ()) -> list[Recovery]:
    """A row for every corpus, method's model, quantizer but full precision or attack, and metric.

    predictions: the study's, each {model, quantizer, metric, expected}; one is about every corpus.
    """
    study, rows, forgotten = reader.study, [], []
    expected = {(item["model"], item["quantizer"], item["metric"]): item["expected"] for item in predictions}
    for corpus in study.corpora:
        for model in study.methods:
            for quantizer in (name for name in study.changes if study.covers(model, name)):
                for metric in METRICS:
                    row, low = _row(reader, corpus, model, quantizer, metric)
                    if what := expected.get((model, quantizer, metric)):
                        row = replace(row, family=PRIMARY, expected=what)
                    rows.append(row)
                    forgotten.append(low)
    judged = [
        replace(
            row,
            verdict=verdict(low, row.ci_low, row.ci_high, row.p),
            equivalent="yes" if row.p_equivalent < ALPHA else "no",
        )
        for row, low in zip(corrected(rows), forgotten, strict=True)
    ]
    return [replace(row, outcome=outcome(row)) for row in judged]


def corrected(rows: Sequence[Recovery]) -> list[Recovery]:
    """The rows with both p values corrected by Holm: the primary family's by itself, the others' for each metric."""
    result = list(rows)
    families: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        families.setdefault(PRIMARY if row.family == PRIMARY else row.metric, []).append(place)
    for places in families.values():
        for key in ("p", "p_equivalent"):
            for place, p in zip(places, holm([getattr(rows[place], key) for place in places]), strict=True):
                changed: dict[str, Any] = {key: p}
                result[place] = replace(result[place], **changed)
    return result


def known(reader: Reader, corpus: str, model: str, quantizer: str, metric: str) -> Known:
    """A model's score on a metric; for `knowledge` the mean of the two metrics."""
    scores = reader.scores(corpus, model, quantizer)
    return scores[metric] if metric in scores else (scores[KNOWLEDGE[0]] + scores[KNOWLEDGE[1]]) * 0.5


def _row(reader: Reader, corpus: str, model: str, quantizer: str, metric: str) -> tuple[Recovery, float]:
    """The row with uncorrected p values, and the lower end of the interval of what was forgotten."""

    def change(name: str) -> Known:
        return known(reader, corpus, name, quantizer, metric) - known(reader, corpus, name, "full", metric)

    target = known(reader, corpus, "target", quantizer, metric)
    full, quantized = (known(reader, corpus, model, name, metric) for name in ("full", quantizer))
    difference, gap = change(model), target - full
    value, (error, degrees) = difference.measured, standard_error(difference)
    twin = reader.study.methods[model].get("twin")
    beyond: dict[str, Any] = {}
    if twin is not None and reader.study.covers(twin, quantizer):
        beyond |= zip(BEYOND, share(difference - change(twin), gap), strict=True)
    if "retrain" in reader.study.models:
        beyond |= zip(BEYOND_RETRAIN, share(difference - change("retrain"), gap), strict=True)
    numbers = (target.measured, full.measured, quantized.measured, value, *mean_interval(difference))
    row = Recovery(
        corpus,
        model,
        quantizer,
        metric,
        *numbers,
        *share(difference, gap),
        p=one_sided(value, error, degrees),
        verdict="",
        equivalent="",
        p_equivalent=max(one_sided(EQUIVALENCE + sign * value, error, degrees) for sign in (1, -1)),
        **beyond,
    )
    return row, mean_interval(gap)[0]


def write_csv(rows: list[Recovery], path: Path) -> None:
    """recovery.csv: numbers with four decimals, p values with three digits, nothing where there is no number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [field.name for field in fields(Recovery)]
        writer.writerow(names)
        for row in rows:
            writer.writerow([_cell(name, getattr(row, name)) for name in names])


def _cell(name: str, value: str | float | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.3g}" if name.startswith("p") else f"{value:.4f}"


def read_csv(path: Path) -> list[Recovery]:
    """The rows of recovery.csv."""
    convert: dict[str, Callable[[str], Any]] = {
        field.name: str if field.type is str else (lambda text: float(text) if text else None)
        for field in fields(Recovery)
    }
    with path.open(newline="", encoding="utf-8") as file:
        return [Recovery(**{name: convert[name](text) for name, text in row.items()}) for row in csv.DictReader(file)]


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; nan where one side is constant or empty."""
    if not len(x):
        return math.nan
    ranks = [_ranks(np.asarray(values, dtype=float)) for values in (x, y)]
    deviations = [values - values.mean() for values in ranks]
    scale = math.sqrt(float((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum()))
    return float((deviations[0] * deviations[1]).sum()) / scale if scale else math.nan


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.array([(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values])
