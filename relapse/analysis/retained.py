"""Retained knowledge: how much of what the target knows a model still knows at the same precision.

For model m under quantizer q, with VerMem forget V and KnowMem forget K,

    retained(m, q) = 100 * (V(m, q) + K(m, q)) / (V(target, q) + K(target, q)),

for each seed, and averaged over the seeds where there are several. `average` sums numerator and denominator over every
utility-constrained method and every corpus. The paper does not define the average it reports; this is the only simple
definition found that gives its numbers, so it is called reconstructed wherever it is printed.

Intervals are inference.py's: with several seeds Student's over them; with one seed a bootstrap's over clusters of
examples. A replicate draws people with replacement, once per corpus, and uses the same draw for VerMem and KnowMem and
for every model and quantizer. This module reads records from disk, never models.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import NamedTuple

import numpy as np

from relapse.analysis.inference import Known, mean_interval
from relapse.analysis.study import Study
from relapse.metrics.bootstrap import resamples
from relapse.runtime.errors import RelapseError

KNOWLEDGE = ("verbmem_forget", "knowmem_forget")
AVERAGE, ALL = "average", "all"


@dataclass(frozen=True)
class Retained:
    """One row of retained.csv: a percentage of the target, with its interval; None where the target knows nothing."""

    corpus: str
    model: str
    quantizer: str
    value: float | None
    ci_low: float | None
    ci_high: float | None


class Answer(NamedTuple):
    """What is read of a record: its score, and whom it is about, if it names one."""

    score: float
    group: str | None


def read_scores(path: Path) -> dict[str, dict[str, Answer]]:
    """The answers of the two knowledge metrics in a records file: metric -> id -> answer.

    Raises RelapseError for a file that is missing, is no JSON lines, or has no record of a metric.
    """
    scores: dict[str, dict[str, Answer]] = {metric: {} for metric in KNOWLEDGE}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if record["metric"] in scores:
                    answer = Answer(float(record["score"]), record.get("group"))
                    scores[record["metric"]][record["id"]] = answer
    except FileNotFoundError:
        raise RelapseError(f"{path} is missing: retained knowledge needs the records of every model") from None
    except (ValueError, KeyError) as error:
        raise RelapseError(f"cannot read the records in {path}: {error!r}") from None
    for metric, by_id in scores.items():
        if not by_id:
            raise RelapseError(f"{path} has no record of {metric}, which retained knowledge is computed from")
    return scores


def records_path(folder: Path, corpus: str, model: str, seed: int, quantizer: str) -> Path:
    """Where a study keeps the records of one evaluation, below its metrics folder."""
    return folder / corpus / model / f"seed{seed}" / f"{quantizer}.records.jsonl"


def example_weights(corpus: str, groups: dict[str, list[str | None]], samples: int) -> dict[str, np.ndarray]:
    """metric -> the share of each of its n examples in each replicate, (B, n); rows sum to 1.

    groups: metric -> the group of each example; None is a cluster of its own. A group is drawn as a whole, whichever
    metrics its examples are of. Groups that are in the same metrics are drawn among themselves, so that no replicate
    is without a metric.
    """
    keys = {
        metric: [(metric, place) if group is None else group for place, group in enumerate(its)]
        for metric, its in groups.items()
    }
    counts: dict[object, np.ndarray] = {}  # cluster -> how often it is in each replicate, (B,)
    among: dict[tuple[str, ...], list] = {}  # metrics -> the clusters that are in these and no others
    for key in dict.fromkeys(key for its in keys.values() for key in its):
        among.setdefault(tuple(metric for metric, its in keys.items() if key in its), []).append(key)
    for metrics, clusters in among.items():
        drawn = resamples(len(clusters), samples, "retained", corpus, *metrics)
        counts |= dict(zip(clusters, drawn.T, strict=True))
    weights = {metric: np.stack([counts[key] for key in its], axis=1) for metric, its in keys.items()}
    return {metric: its / its.sum(axis=1, keepdims=True) for metric, its in weights.items()}


class Reader:
    """Reads what a study's models know: per seed, or of one seed on one fixed set of bootstrap replicates.

    examples: (corpus, metric) -> ids, in order. grouped: whether records name whom they are about. Both are known of
    the corpora that were read.
    """

    def __init__(self, folder: Path, study: Study):
        self.folder = folder
        self.study = study
        self.examples: dict[tuple[str, str], list[str]] = {}
        self.grouped = False
        self._weights: dict[str, dict[str, np.ndarray]] = {}
        self._known: dict[tuple[str, str, str], dict[str, Known]] = {}

    def scores(self, corpus: str, model: str, quantizer: str) -> dict[str, Known]:
        """Each knowledge metric's score, averaged over examples.

        Raises RelapseError where models were asked different examples.
        """
        key = corpus, model, quantizer
        if key not in self._known:
            files = [records_path(self.folder, corpus, model, seed, quantizer) for seed in self.study.seeds]
            self._known[key] = self._score(corpus, {path: read_scores(path) for path in files})
        return self._known[key]

    def _score(self, corpus: str, by_file: dict[Path, dict[str, dict[str, Answer]]]) -> dict[str, Known]:
        if corpus not in self._weights:
            self._first_seen(corpus, next(iter(by_file.values())))
        known = {}
        for metric in KNOWLEDGE:
            ids = self.examples[corpus, metric]
            for path, answers in by_file.items():
                if sorted(answers[metric]) != ids:
                    raise RelapseError(f"{path} has other examples of {metric} than the corpus's other records")
            # (S, n)
            values = np.array([[answers[metric][id_].score for id_ in ids] for answers in by_file.values()])
            draws = self._weights[corpus][metric] @ values[0] if len(values) == 1 else np.empty(0)
            known[metric] = Known(values.mean(axis=1), draws)
        return known

    def _first_seen(self, corpus: str, answers: dict[str, dict[str, Answer]]) -> None:
        groups = {}
        for metric in KNOWLEDGE:
            ids = self.examples[corpus, metric] = sorted(answers[metric])
            groups[metric] = [answers[metric][id_].group for id_ in ids]
        self.grouped |= any(group is not None for its in groups.values() for group in its)
        self._weights[corpus] = example_weights(corpus, groups, self.study.bootstrap_samples)

    def knowledge(self, corpus: str, model: str, quantizer: str) -> Known:
        """V + K."""
        scores = self.scores(corpus, model, quantizer)
        return scores[KNOWLEDGE[0]] + scores[KNOWLEDGE[1]]


def _percentage(corpus: str, model: str, quantizer: str, pairs: list[tuple[Known, Known]]) -> Retained:
    """100 * sum of the firsts / sum of the seconds, for each seed; empty where a coarse quantizer leaves the target no
    knowledge.

    Raises RelapseError where the target knows nothing in full precision.
    """
    above, below = (reduce(add, parts) for parts in zip(*pairs, strict=True))
    if not np.all(below.seeds) or not np.all(below.draws):
        if quantizer != "full":
            return Retained(corpus, model, quantizer, None, None, None)
        raise RelapseError(
            f"the target of {corpus} in full precision scores 0 on {' and '.join(KNOWLEDGE)}: there is no knowledge to "
            "compare with. Train it longer, or look at its records."
        )
    percentage = above / below * 100
    return Retained(corpus, model, quantizer, percentage.measured, *mean_interval(percentage))


def retained(reader: Reader) -> Iterator[Retained]:
    """Rows per corpus, model (retrain and every method) and quantizer, then the reconstructed average's.

    There is no average under a quantizer that one of its methods was not scored under.
    """
    study = reader.study
    pooled: dict[str, list[tuple[Known, Known]]] = {quantizer: [] for quantizer in study.quantizers}
    for corpus in study.corpora:
        targets = {quantizer: reader.knowledge(corpus, "target", quantizer) for quantizer in study.quantizers}
        for model in [*(name for name in study.models if name != "target"), *study.methods]:
            for quantizer, target in targets.items():
                if not study.covers(model, quantizer):
                    continue
                pair = (reader.knowledge(corpus, model, quantizer), target)
                if model in study.averaged:
                    pooled[quantizer].append(pair)
                yield _percentage(corpus, model, quantizer, [pair])
    if study.averaged:
        for quantizer, pairs in pooled.items():
            if len(pairs) < len(study.averaged) * len(study.corpora):
                continue
            yield _percentage(ALL, AVERAGE, quantizer, pairs)


def write_csv(rows: list[Retained], path: Path) -> None:
    """retained.csv; percentages with three decimals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Retained.__dataclass_fields__)
        for row in rows:
            numbers = ("" if number is None else f"{number:.3f}" for number in (row.value, row.ci_low, row.ci_high))
            writer.writerow([row.corpus, row.model, row.quantizer, *numbers])


def read_csv(path: Path) -> list[Retained]:
    """The rows of retained.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Retained(corpus, model, quantizer, *(float(text) if text else None for text in numbers))
            for corpus, model, quantizer, *numbers in (row.values() for row in csv.DictReader(file))
        ]
