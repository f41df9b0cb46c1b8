"""Recovery: does what was forgotten come back under a quantizer? Shares, intervals, verdicts.

For a model under quantizer q, with u its score in full precision, x its score under q, and t the target's under q,

    difference = x - u (points),    recovered share = (x - u) / (t - u),

for VerMem forget, KnowMem forget, and `knowledge`, the mean of the two. Intervals are 95 % percentile intervals of the
paired bootstrap that retained.py describes: over examples, the same draw for every model and quantizer, and over seeds.

Verdict, by a rule stated before any result:

- `nothing forgotten`: the interval of t - u reaches below FORGOTTEN points, so that there is nothing to recover;
- `recovered`: the whole interval of the recovered share lies above MARGIN, and the corrected p value of `difference <=
0` is below ALPHA;
- `not detected`: the whole interval lies below MARGIN;
- `cannot tell`: everything else.

`equivalent`: two one-sided tests show the difference to lie within EQUIVALENCE points of 0 (TOST, corrected p < ALPHA):
"8 bit behaves like full precision" is a claim of its own, which the absence of a difference does not show. p values
come from the bootstrap's standard error and the normal distribution, and are corrected by Holm over all models and
quantizers of the study, for each metric and each of the two questions.
"""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np

from relapse.analysis.retained import KNOWLEDGE, Known, Reader
from relapse.metrics.bootstrap import interval

ALPHA = 0.05
MARGIN = 0.10  # of the recovered share
FORGOTTEN = 5.0  # points of ROUGE-L times 100
EQUIVALENCE = 5.0  # points
METRICS = (*KNOWLEDGE, "knowledge")
POSITIVE = 0.975  # of the replicates must have something to recover, for the share to have an interval


@dataclass(frozen=True)
class Recovery:
    """One row of recovery.csv. Scores in points of 100, `recovered` a share; None where there is no such number."""

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


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values (Scand. J. Stat. 6, 1979), in the order given.

    The i-th smallest of m (from 0) is multiplied by m - i; no adjusted value is below one before it, or above 1.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def one_sided(value: float, error: float) -> float:
    """p value of `the true value is 0 or less`, for an estimate with this standard error."""
    if not error:
        return 0.0 if value > 0 else 1.0
    return NormalDist().cdf(-value / error)


def verdict(forgotten_low: float, low: float | None, high: float | None, p: float) -> str:
    """The rule of the module's docstring, from the interval of the share and the corrected p value."""
    if forgotten_low < FORGOTTEN:
        return "nothing forgotten"
    if low is None or high is None:
        return "cannot tell"
    if low > MARGIN and p < ALPHA:
        return "recovered"
    return "not detected" if high < MARGIN else "cannot tell"


def recoveries(reader: Reader) -> list[Recovery]:
    """A row for every corpus, method's model, quantizer but full precision, and metric."""
    study, rows, forgotten = reader.study, [], []
    for corpus in study.corpora:
        for model in study.methods:
            full = reader.scores(corpus, model, "full")
            for quantizer in (name for name in study.quantizers if name != "full" and study.covers(model, name)):
                target, quantized = (reader.scores(corpus, name, quantizer) for name in ("target", model))
                for metric in METRICS:
                    known = (_of(scores, metric) for scores in (target, full, quantized))
                    row, low = _row(corpus, model, quantizer, metric, *known)
                    rows.append(row)
                    forgotten.append(low)
    for metric in METRICS:
        family = [place for place, row in enumerate(rows) if row.metric == metric]
        for key in ("p", "p_equivalent"):
            for place, p in zip(family, holm([getattr(rows[place], key) for place in family]), strict=True):
                rows[place] = replace(rows[place], **{key: p})
    return [
        replace(
            row,
            verdict=verdict(low, row.ci_low, row.ci_high, row.p),
            equivalent="yes" if row.p_equivalent < ALPHA else "no",
        )
        for row, low in zip(rows, forgotten, strict=True)
    ]


def _of(scores: dict[str, Known], metric: str) -> Known:
    """A metric's score and replicates; for `knowledge` the mean of the two metrics."""
    if metric in scores:
        return scores[metric]
    parts = [scores[name] for name in KNOWLEDGE]
    return Known(sum(part.measured for part in parts) / 2, sum(part.draws for part in parts) / 2)


def _row(
    corpus: str, model: str, quantizer: str, metric: str, target: Known, full: Known, quantized: Known
) -> tuple[Recovery, float]:
    """The row with uncorrected p values, and the lower end of the interval of what was forgotten."""
    difference = quantized.measured - full.measured
    draws = quantized.draws - full.draws  # (B,)
    gap, gap_draws = target.measured - full.measured, target.draws - full.draws
    error = float(draws.std(ddof=1))
    share = low = high = None
    if gap > 0:
        share = difference / gap
        positive = gap_draws > 0
        if positive.mean() >= POSITIVE:
            low, high = interval(draws[positive] / gap_draws[positive])
    row = Recovery(
        *(corpus, model, quantizer, metric),
        *(target.measured, full.measured, quantized.measured, difference, *interval(draws)),
        *(share, low, high),
        p=one_sided(difference, error),
        verdict="",
        equivalent="",
        p_equivalent=max(one_sided(EQUIVALENCE + sign * difference, error) for sign in (1, -1)),
    )
    return row, interval(gap_draws)[0]


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
    convert: dict[str, Callable[[str], str | float | None]] = {
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
