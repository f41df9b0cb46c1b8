"""The paper's numbers, and an independent group's, beside what a study measured.

published.csv holds the paper's tables as far as they could be found, with how many transcriptions agree on a cell;
independent.csv other groups' runs of 2026, each with its source; those on TOFU stand beside no published table. A cell
that is in neither is not invented. This module finds the model, quantizer and metric of a study that a published cell
is about, and how the two measurements differ. comparison_table.py writes the table.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from relapse.analysis.study import UTILITY_METRICS, Study, bits
from relapse.report.tables import Cell, Key

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Comparison:
    """One published cell, by the paper or by the second group alone, and what the study has for it.

    table: the paper's number, "" where the paper has no such cell. reported: its value, or None. transcriptions: how
    many independent ones it is known from. reproduced: the study's cell, or None where it was not scored. independent:
    the second group's value, or None. unlike: what was not measured alike, in words. note, independent_note: what is
    known of the two.
    """

    table: str
    corpus: str
    model: str
    quantizer: str
    metric: str
    reported: float | None
    transcriptions: int
    reproduced: Cell | None
    independent: float | None
    unlike: tuple[str, ...]
    note: str
    independent_note: str

    @property
    def difference(self) -> float | None:
        """Reproduced minus reported."""
        if self.reproduced is None or self.reported is None:
            return None
        return self.reproduced.value - self.reported

    @property
    def beyond(self) -> bool | None:
        """Whether the reported value lies outside the reproduced one's interval; None where they are not comparable."""
        cell = self.reproduced
        if cell is None or self.reported is None or self.unlike:
            return None
        return not cell.low <= self.reported <= cell.high


@cache
def read(name: str) -> tuple[dict[str, str], ...]:
    """The rows of published.csv or independent.csv."""
    with (HERE / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def precision_of(entry: Mapping[str, Any]) -> str | None:
    """The column of the paper's Tables 1 and 3 that a quantizer's entry stands for; None for another one.

    The text describes round-to-nearest, the released code runs bitsandbytes' int8 and FP4: both are compared.
    """
    if entry["backend"] == "full":
        return "full"
    if entry["backend"] == "rtn" or entry.get("format") in ("int8", "fp4"):
        return {8: "8bit", 4: "4bit"}.get(bits(entry) or 0)
    return None


def independent_names(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """What independent.csv calls a quantizer's entry: its rtn is in groups of 128 throughout; () for none of its."""
    if entry["backend"] == "full":
        return ("full",)
    if entry["backend"] == "rtn" and bits(entry) == 4 and entry.get("group_size") == 128:
        return ("rtn-int4-g128", "rtn")
    if entry.get("format") == "fp4":
        return ("bnb-fp4",)
    return (entry["backend"],) if entry["backend"] in ("gptq", "awq") and bits(entry) == 4 else ()


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
    """Every published cell that some model and quantizer of the study speak of, in the paper's order.

    Behind them what the second group alone has (GPTQ, AWQ). cells: as `tables.read_cells` has them. published: the
    study's corpus -> the paper's name of it (NEWS or BOOKS).
    """
    places = [(corpus, row) for row in read("published") for corpus, name in published.items() if name == row["corpus"]]
    found = [comparison for corpus, row in places for comparison in _of_row(study, cells, corpus, row)]
    for corpus, theirs in published.items():
        for quantizer, entry in study.quantizers.items():
            if precision_of(entry) is None:
                found += _independent_only(study, cells, (corpus, theirs), quantizer, entry)
    return found


def _of_row(study: Study, cells: Mapping[Key, Cell], corpus: str, row: Mapping[str, str]) -> Iterator[Comparison]:
    if row["metric"] not in study.metrics or (row["metric"] in UTILITY_METRICS and not asks_rwku(study, row["metric"])):
        return  # the paper's utility is that of RWKU's questions
    metric, decoded = metric_for(study, row["metric"], row["decoding"])
    for model in models_for(study, row["model"]):
        settings = study.methods.get(model, {})
        for quantizer, entry in study.quantizers.items():
            if precision_of(entry) != row["precision"] or not study.covers(model, quantizer):
                continue
            if (model, metric, row["precision"]) == ("retrain", "privleak", "full"):
                continue  # 0 on both sides, by its definition
            rounding = ("the released code rounds with bitsandbytes",) if entry["backend"] == "rtn" else ()
            theirs = independent(row["corpus"], row["model"], settings, entry, row["metric"], row["decoding"])
            yield Comparison(
                row["table"],
                corpus,
                model,
                quantizer,
                metric,
                float(row["value"]),
                int(row["transcriptions"]),
                cells.get((corpus, model, quantizer, metric)),
                float(theirs["value"]) if theirs else None,
                decoded + asked_otherwise(study, metric) + as_released(settings) + rounding,
                row["note"],
                theirs["note"] if theirs else "",
            )


def _independent_only(
    study: Study, cells: Mapping[Key, Cell], corpus: tuple[str, str], quantizer: str, entry: Mapping[str, Any]
) -> Iterator[Comparison]:
    """The second group's cells of a quantizer that the paper has none for. corpus: the study's name and the paper's."""
    for model in [*study.models, *study.methods]:
        settings = study.methods.get(model, {})
        for metric in study.metrics if study.covers(model, quantizer) else ():
            decoding = {"verbmem_forget": study.decoding, "verbmem_forget_sampled": "sample"}.get(metric, "")
            asked = metric.removesuffix("_sampled")
            theirs = independent(corpus[1], settings.get("method", model), settings, entry, asked, decoding)
            if theirs:
                cell = cells.get((corpus[0], model, quantizer, metric))
                value, note = float(theirs["value"]), theirs["note"]
                yield Comparison("", corpus[0], model, quantizer, metric, None, 0, cell, value, (), "", note)


def asks_rwku(study: Study, metric: str) -> bool:
    """Whether a study asks RWKU's questions for a metric of utility, by the tasks of configs/rwku/ or a file."""
    entry = study.asked.get(metric, {})
    return entry.get("tasks") == [f"rwku_{metric}"] or bool(entry.get("instructions"))


def asked_otherwise(study: Study, metric: str) -> tuple[str, ...]:
    """In what the study's questions, or how it samples, depart from the released code."""
    entry, words = study.asked.get(metric, {}), []
    length = 32 if metric.startswith("knowmem") else 128
    if entry.get("max_new_tokens", length) != length:
        words.append(f"reported {length} new tokens, ours {entry['max_new_tokens']}")
    if entry.get("k", 40) != 40:
        words.append(f"reported Min-40 %, ours Min-{entry['k']} %")
    if entry.get("prompt_ending", "space") != "space":
        words.append("reported questions end in a space")
    if entry.get("prompt", "plain") != "plain":
        words.append("reported questions are asked in MUSE's words")
    if metric in UTILITY_METRICS:
        words.append("reported in RWKU's prompts")
    if entry.get("decoding", "sample") == "sample" and entry.get("top_k", 50) != 50:
        words.append("reported samples are of the 50 likeliest tokens")
    return tuple(words)


def as_released(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """In what a method's entry departs from the released code, which made the paper's numbers."""
    formulation, mask = settings.get("formulation", "released"), settings.get("mask", "released")
    losses = () if formulation == "released" else (f"reported released losses, ours {formulation}",)
    masks = () if mask == "released" else (f"reported no mask and the forget gradient twice, ours mask {mask}",)
    cut = settings.get("windows", "concatenated"), settings.get("retain_pairing", "fixed")
    windows = (
        () if cut == ("concatenated", "fixed") else ("reported windows are cut and paired as the released code does",)
    )
    adapters = ("reported a full fine-tune, ours LoRA",) if settings.get("parameters") == "lora" else ()
    return losses + masks + windows + adapters


def independent(
    corpus: str, model: str, settings: Mapping[str, Any], quantizer: Mapping[str, Any], metric: str, decoding: str
) -> dict[str, str] | None:
    """The second group's row of a cell, decoded alike; None where it has none.

    SURE: their `released` run is the one that a `mask: released` entry repeats; their own repair of it is no model of
    ours.
    """
    variant = "released" if model.endswith("_sure") and settings.get("mask") == "released" else ""
    wanted = (corpus, model, variant, metric, decoding)
    keys = ("corpus", "model", "variant", "metric", "decoding")
    names = independent_names(quantizer)
    rows = (row for row in read("independent") if row["quantizer"] in names)
    return next((row for row in rows if tuple(row[key] for key in keys) == wanted), None)
