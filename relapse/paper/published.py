"""The paper's numbers, and an independent group's, beside what a study measured.

published.csv holds the paper's tables as far as they could be found, with how many transcriptions agree on a cell;
independent.csv a second group's runs of 2026. A cell that is in neither is not invented. Knows which of a study's
models, quantizers and metrics a published cell speaks of, and where the two were not measured alike; how that looks is
comparison_table.py's.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from relapse.analysis.study import UTILITY_METRICS, Study, bits
from relapse.paper.tables import Cell, Key

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Comparison:
    """One published cell and what the study has for it.

    table: the paper's number. transcriptions: how many independent ones the reported value is known from. reproduced:
    the study's cell, or None where it was not scored. independent: the second group's value, or None. unlike: what was
    not measured alike, in words. note: what is known of the published cell.
    """

    table: str
    corpus: str
    model: str
    quantizer: str
    metric: str
    reported: float
    transcriptions: int
    reproduced: Cell | None
    independent: float | None
    unlike: tuple[str, ...]
    note: str

    @property
    def difference(self) -> float | None:
        """Reproduced minus reported."""
        return None if self.reproduced is None else self.reproduced.value - self.reported

    @property
    def beyond(self) -> bool:
        """Whether the reported value lies outside the interval of the reproduced one."""
        cell = self.reproduced
        return cell is not None and not cell.low <= self.reported <= cell.high


@cache
def read(name: str) -> tuple[dict[str, str], ...]:
    """The rows of published.csv or independent.csv."""
    with (HERE / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def precision_of(entry: Mapping[str, Any]) -> str | None:
    """The column of the paper's Tables 1 and 3 that a quantizer's entry stands for; None for another one.

    The text says round-to-nearest, the released code runs bitsandbytes' int8 and FP4: both are compared.
    """
    if entry["backend"] == "full":
        return "full"
    if entry["backend"] == "rtn" or entry.get("format") in ("int8", "fp4"):
        return {8: "8bit", 4: "4bit"}.get(bits(entry))
    return None


def independent_name(entry: Mapping[str, Any]) -> str | None:
    """What independent.csv calls a quantizer's entry; None where it has no such one."""
    if entry["backend"] == "full":
        return "full"
    if entry["backend"] == "rtn" and bits(entry) == 4 and entry.get("group_size") == 128:
        return "rtn-int4-g128"
    if entry.get("format") == "fp4":
        return "bnb-fp4"
    return entry["backend"] if entry["backend"] in ("gptq", "awq") and bits(entry) == 4 else None


def metric_for(study: Study, metric: str, decoding: str) -> tuple[str, tuple[str, ...]]:
    """The study's metric that a published one is held against, and in words what is unlike about it.

    Published full-precision rows of target and retrain decode greedily, all others sample. A study that has both ways
    gives the one that fits.
    """
    if metric != "verbmem_forget":
        return metric, ()
    own = {"verbmem_forget": study.decoding, "verbmem_forget_sampled": "sample"}
    alike = [name for name in study.metrics if own.get(name) == decoding]
    if alike:
        return alike[0], ()
    words = {"greedy": "greedy", "sample": "sampled"}
    return metric, (f"reported {words[decoding]}, reproduced {words[study.decoding]}",)


def models_for(study: Study, model: str) -> list[str]:
    """The study's models that a published row speaks of: target, retrain, or every entry of that method."""
    if model in study.models:
        return [model]
    return [name for name, entry in study.methods.items() if entry.get("method", name) == model]


def compare(study: Study, cells: Mapping[Key, Cell], published: Mapping[str, str]) -> list[Comparison]:
    """Every published cell that some model and quantizer of the study speak of, in the paper's order; no utility's.

    cells: as `tables.read_cells` has them. published: the study's corpus -> the paper's name of it (NEWS or BOOKS).
    """
    return [
        comparison
        for row in read("published")
        for corpus, theirs in published.items()
        if theirs == row["corpus"]
        for comparison in _of_row(study, cells, corpus, row)
    ]


def _of_row(study: Study, cells: Mapping[Key, Cell], corpus: str, row: Mapping[str, str]) -> Iterator[Comparison]:
    if row["metric"] not in study.metrics or row["metric"] in UTILITY_METRICS:
        return  # the paper's utility is that of RWKU's questions and prompts, which a study does not ask
    metric, decoded = metric_for(study, row["metric"], row["decoding"])
    for model in models_for(study, row["model"]):
        settings = study.methods.get(model, {})
        formulation = settings.get("formulation", "released")
        unlike = decoded if formulation == "released" else (*decoded, f"reported released losses, ours {formulation}")
        for quantizer, entry in study.quantizers.items():
            if precision_of(entry) != row["precision"] or not study.covers(model, quantizer):
                continue
            rounding = ("the released code rounds with bitsandbytes",) if entry["backend"] == "rtn" else ()
            yield Comparison(
                row["table"],
                corpus,
                model,
                quantizer,
                metric,
                float(row["value"]),
                int(row["transcriptions"]),
                cells.get((corpus, model, quantizer, metric)),
                independent(row["corpus"], row["model"], settings, entry, row["metric"], row["decoding"]),
                unlike + rounding,
                row["note"],
            )


def independent(
    corpus: str, model: str, settings: Mapping[str, Any], quantizer: Mapping[str, Any], metric: str, decoding: str
) -> float | None:
    """The second group's value of a cell, decoded alike; None where it has none.

    SURE: their `released` run is the one that a `mask: released` entry repeats; their own repair of it is no model of
    ours.
    """
    variant = "released" if model.endswith("_sure") and settings.get("mask") == "released" else ""
    wanted = (corpus, model, variant, independent_name(quantizer), metric, decoding)
    keys = ("corpus", "model", "variant", "quantizer", "metric", "decoding")
    return next(
        (float(row["value"]) for row in read("independent") if tuple(row[key] for key in keys) == wanted),
        None,
    )
