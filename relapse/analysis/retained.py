"""Retained knowledge: how much of what the target knows a model still knows at the same precision.

For model m under quantizer q, with VerMem forget V and KnowMem forget K,

    retained(m, q) = 100 * (V(m, q) + K(m, q)) / (V(target, q) + K(target, q)),

summed over the seeds where there are several. `average` sums numerator and denominator over every utility-constrained
method and every corpus too. The paper does not define the average it reports; this is the only simple definition
found that gives its numbers, so it is called reconstructed wherever it is printed.

Intervals are 95 % percentile intervals of a paired bootstrap: a replicate draws examples with replacement, once per
corpus and metric, and uses the same draw for every model, quantizer and seed; where there are several seeds, it
draws those as well. Knows records on disk; knows nothing of models.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from relapse.analysis.study import Study
from relapse.errors import RelapseError
from relapse.metrics.bootstrap import interval
from relapse.seeding import seed_for

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


@dataclass(frozen=True)
class Known:
    """A score averaged over examples and seeds, in points of 100: as measured, and per bootstrap replicate (B,)."""

    measured: float
    draws: np.ndarray

    def __add__(self, other: "Known") -> "Known":
        return Known(self.measured + other.measured, self.draws + other.draws)


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Scores of the two knowledge metrics in a records file: metric -> id -> score.

    Raises RelapseError for a file that is missing, is no JSON lines, or has no record of a metric.
    """
    scores: dict[str, dict[str, float]] = {metric: {} for metric in KNOWLEDGE}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if record["metric"] in scores:
                    scores[record["metric"]][record["id"]] = float(record["score"])
    except FileNotFoundError:
        raise RelapseError(f"{path} is missing: retained knowledge needs the records of every model") from None
    except (ValueError, KeyError) as error:
        raise RelapseError(f"{path} is no file of records: {error!r}") from None
    for metric, by_id in scores.items():
        if not by_id:
            raise RelapseError(f"{path} has no record of {metric}, which retained knowledge is computed from")
    return scores


def records_path(folder: Path, corpus: str, model: str, seed: int, quantizer: str) -> Path:
    """Where a study keeps the records of one evaluation, below its metrics folder."""
    return folder / corpus / model / f"seed{seed}" / f"{quantizer}.records.jsonl"


def seed_weights(seeds: tuple[int, ...], samples: int) -> np.ndarray:
    """(B, S): how often each of S seeds is in each replicate; rows sum to S."""
    count = len(seeds)
    draws = np.random.default_rng(seed_for("retained", "seeds")).integers(0, count, size=(samples, count))
    return (draws[:, :, None] == np.arange(count)).sum(axis=1).astype(float)


def example_weights(corpus: str, metric: str, count: int, samples: int) -> np.ndarray:
    """(B, n): the share of each of n examples in each replicate; rows sum to 1."""
    generator = np.random.default_rng(seed_for("retained", corpus, metric))
    return generator.multinomial(count, np.full(count, 1 / count), size=samples) / count


class Reader:
    """Reads what a study's models know, on one fixed set of bootstrap replicates."""

    def __init__(self, folder: Path, study: Study):
        self.folder = folder
        self.study = study
        self.examples: dict[tuple[str, str], list[str]] = {}  # (corpus, metric) -> ids, in order
        self._seed_weights = seed_weights(study.seeds, study.bootstrap_samples)
        self._example_weights: dict[tuple[str, str], np.ndarray] = {}

    def scores(self, corpus: str, model: str, quantizer: str) -> dict[str, Known]:
        """Each knowledge metric's score, averaged over examples and the study's seeds.

        Raises RelapseError where models were asked different examples.
        """
        files = [records_path(self.folder, corpus, model, seed, quantizer) for seed in self.study.seeds]
        read = [read_scores(path) for path in files]
        return {metric: self._score(corpus, metric, files, [scores[metric] for scores in read]) for metric in KNOWLEDGE}

    def _score(self, corpus: str, metric: str, files: list[Path], by_seed: list[dict[str, float]]) -> Known:
        key = corpus, metric
        if key not in self.examples:
            self.examples[key] = sorted(by_seed[0])
            count = len(self.examples[key])
            self._example_weights[key] = example_weights(corpus, metric, count, self.study.bootstrap_samples)
        for path, scores in zip(files, by_seed, strict=True):
            if sorted(scores) != self.examples[key]:
                raise RelapseError(f"{path} has other examples of {metric} than the corpus's other records")
        values = np.array([[scores[id_] for id_ in self.examples[key]] for scores in by_seed])  # (S, n)
        means = self._example_weights[key] @ values.T  # (B, S)
        draws = (means * self._seed_weights).sum(axis=1) / len(files)
        return Known(float(values.mean()), draws)

    def knowledge(self, corpus: str, model: str, quantizer: str) -> Known:
        """V + K, averaged over the study's seeds."""
        scores = self.scores(corpus, model, quantizer)
        return scores[KNOWLEDGE[0]] + scores[KNOWLEDGE[1]]


def _percentage(corpus: str, model: str, quantizer: str, pairs: list[tuple[Known, Known]]) -> Retained:
    """100 * sum of the firsts / sum of the seconds; empty where a coarse quantizer leaves the target no knowledge.

    Raises RelapseError where the target knows nothing in full precision.
    """
    below = sum(target.measured for _, target in pairs)
    below_draws = sum(target.draws for _, target in pairs)
    if not below or not np.all(below_draws):
        if quantizer != "full":
            return Retained(corpus, model, quantizer, None, None, None)
        raise RelapseError(
            f"the target of {corpus} in full precision scores 0 on {' and '.join(KNOWLEDGE)}: there is no knowledge to "
            "compare with. Train it longer, or look at its records."
        )
    draws = sum(known.draws for known, _ in pairs) / below_draws
    low, high = interval(100 * draws)
    value = 100 * sum(known.measured for known, _ in pairs) / below
    return Retained(corpus, model, quantizer, float(value), low, high)


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
            Retained(*list(row.values())[:3], *(float(text) if text else None for text in list(row.values())[3:]))
            for row in csv.DictReader(file)
        ]
