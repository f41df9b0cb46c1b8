"""What of a quantizer's effect is the lost update and what is noise: counterfactual weights beside quantized ones.

For each unlearned model, in points of VerMem, KnowMem and `knowledge`, the mean of the two: the score in full
precision, under every quantizer, and with each part of its effect alone (quantization/counterfactual.py). Two
differences with their 95 % intervals (inference.py): from full precision, which is what the part does, and from the
quantized model, which is 0 where the part is the whole effect. Models are compared within a seed. This module reads
scores and entries, never weights.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from relapse.analysis.inference import Known, mean_interval
from relapse.analysis.recovery import METRICS, known
from relapse.analysis.retained import Reader

WHOLE = "quantized"  # the part of a row that is a quantizer's own


@dataclass(frozen=True)
class Part:
    """One row of counterfactual.csv, scores and differences in points. quantizer: the one whose effect it is part of.

    from_quantized: nan for the quantized model itself.
    """

    corpus: str
    model: str
    quantizer: str
    part: str
    metric: str
    target: float
    full: float
    quantized: float
    score: float
    from_full: float
    from_full_low: float
    from_full_high: float
    from_quantized: float
    from_quantized_low: float
    from_quantized_high: float


def taken_apart(entries: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """(name, part, name of the quantizer) of every quantizer and of every counterfactual whose quantizer is there."""
    plain = {name: entry for name, entry in entries.items() if entry["backend"] not in ("full", "counterfactual")}
    for name, entry in entries.items():
        if name in plain:
            yield name, WHOLE, name
        elif entry["backend"] == "counterfactual":
            of = entry["quantizer"].items()
            same = [other for other, its in plain.items() if of <= its.items()]
            yield from ((name, entry["part"], other) for other in same[:1])


def parts(reader: Reader) -> Iterator[Part]:
    """The rows of counterfactual.csv: every corpus, method's model, quantizer, part and metric."""
    study = reader.study
    for corpus in study.corpora:
        for model in study.methods:
            for name, part, quantizer in taken_apart(study.quantizers):
                if study.covers(model, name) and study.covers(model, quantizer):
                    yield from (_row(reader, corpus, model, (name, part, quantizer), metric) for metric in METRICS)


def _row(reader: Reader, corpus: str, model: str, what: tuple[str, str, str], metric: str) -> Part:
    name, part, quantizer = what

    def score(of: str, under: str) -> Known:
        return known(reader, corpus, of, under, metric)

    target, full, quantized, found = (
        *(score("target", "full"), score(model, "full")),
        *(score(model, quantizer), score(model, name)),
    )
    change, rest = found - full, found - quantized
    nothing = (float("nan"),) * 3
    return Part(
        *(corpus, model, quantizer, part, metric),
        *(target.measured, full.measured, quantized.measured, found.measured),
        *(change.measured, *mean_interval(change)),
        *(nothing if part == WHOLE else (rest.measured, *mean_interval(rest))),
    )


def write_csv(rows: list[Part], path: Path) -> None:
    """counterfactual.csv: numbers with three decimals, nothing where there is none."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Part))
        for row in rows:
            cells = (f"{value:.3f}" if isinstance(value, float) else value for value in astuple(row))
            writer.writerow("" if cell == "nan" else cell for cell in cells)


def read_csv(path: Path) -> list[Part]:
    """The rows of counterfactual.csv."""
    text = {field.name for field in fields(Part) if field.type is str}

    def value(name: str, cell: str) -> Any:
        return cell if name in text else float(cell or "nan")

    with path.open(newline="", encoding="utf-8") as file:
        return [Part(**{name: value(name, cell) for name, cell in row.items()}) for row in csv.DictReader(file)]
