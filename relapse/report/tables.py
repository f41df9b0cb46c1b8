"""Tables 1 to 3: every metric of every model at every precision, as csv, Markdown and LaTeX.

Rows are target, retrain and the methods, columns metric x precision; Table 2 has round-to-nearest, GPTQ and AWQ, Table
3 SURE and its bases alone, each in full precision and at 4 bit. All scores come from metrics.csv, and a cell that it
does not have stays empty. table_page.py writes the HTML.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from relapse.analysis.study import ROUNDING, Study, bits, made_elsewhere
from relapse.runtime.errors import RelapseError

TITLES = {  # metric -> the paper's number, its name, which way is good
    "verbmem_forget": ("M1", "VerMem forget", "↓"),
    "verbmem_forget_sampled": ("M1", "VerMem forget, sampled", "↓"),
    "knowmem_forget": ("M2", "KnowMem forget", "↓"),
    "privleak": ("M3", "PrivLeak", "→ 0"),
    "knowmem_retain": ("M4", "KnowMem retain", "↑"),
    "world_facts": ("Gen", "World facts", "↑"),
    "mmlu": ("Gen", "MMLU", "↑"),
    "truthfulqa": ("Tru", "TruthfulQA", "↑"),
    "triviaqa": ("Fac", "TriviaQA", "↑"),
    "fluency": ("Flu", "Fluency", "↑"),
}
SHADED = ("verbmem_forget", "verbmem_forget_sampled", "knowmem_forget")  # what was to be forgotten
EMPTY = "–"


@dataclass(frozen=True)
class Cell:
    """A score times 100 with its interval, or, over several seeds, their mean, least and largest."""

    value: float
    low: float
    high: float
    n: int


def sure_study(study: Study) -> Study:
    """What Table 3 shows: SURE's models, and their base methods with the same storage; full precision and 4 bit.

    Raises RelapseError for a study without SURE.
    """

    def kind(entry: Mapping[str, str]) -> tuple[str | None, ...]:
        return entry.get("method", "").removesuffix("_sure"), entry.get("storage"), entry.get("state_storage")

    kinds = {kind(entry) for entry in study.methods.values() if entry.get("method", "").endswith("_sure")}
    if not kinds:
        raise RelapseError("Table 3 compares SURE with its base methods, and this study has no method ending in _sure")
    return replace(
        study,
        methods={name: entry for name, entry in study.methods.items() if kind(entry) in kinds},
        quantizers={
            name: entry for name, entry in study.quantizers.items() if entry["backend"] == "full" or bits(entry) == 4
        },
    )


def quantizer_study(study: Study) -> Study:
    """What Table 2 shows: full precision, the 4-bit quantizers of `ROUNDING`, and methods that a calibrated one covers.

    Raises RelapseError for a study without a calibrated quantizer.
    """
    shown = {
        name: entry
        for name, entry in study.quantizers.items()
        if entry["backend"] == "full" or (bits(entry) == 4 and entry["backend"] in ROUNDING)
    }
    if not any("calibration" in entry for entry in shown.values()):
        raise RelapseError("Table 2 is about GPTQ and AWQ at 4 bit, and this study has neither")
    calibrated = [name for name, entry in shown.items() if "calibration" in entry]
    methods = {
        name: entry for name, entry in study.methods.items() if any(study.covers(name, other) for other in calibrated)
    }
    return replace(study, methods=methods, quantizers=shown)


Key = tuple[str, str, str, str]  # corpus, model, quantizer, metric


def read_cells(path: Path, study: Study) -> dict[Key, Cell]:
    """The study's cells of a metrics.csv. Raises RelapseError where a model has fewer seeds than the study."""
    by_key: dict[Key, dict[int, Cell]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if int(row["seed"]) in study.seeds:
                key = row["corpus"], row["model"], row["quantizer"], row["metric"]
                value, low, high = (float(row[column]) for column in ("value", "ci_low", "ci_high"))
                by_key.setdefault(key, {})[int(row["seed"])] = Cell(value, low, high, int(row["n"]))
    for key, cells in by_key.items():
        if len(cells) < len(study.seeds):
            raise RelapseError(f"{path} has {' '.join(key)} for {len(cells)} of {len(study.seeds)} seeds")
    return {key: combine(list(cells.values())) for key, cells in by_key.items()}


def combine(cells: list[Cell]) -> Cell:
    """One seed's cell as it is; several seeds' mean value with the least and the largest."""
    if len(cells) == 1:
        return cells[0]
    values = [cell.value for cell in cells]
    return Cell(fmean(values), min(values), max(values), cells[0].n)


def heading(metric: str) -> str:
    """What a table calls a metric; a metric that the paper does not have goes by its own name."""
    return " ".join(TITLES[metric]) if metric in TITLES else metric


def notes(study: Study, cells: Mapping[Key, Cell], statements: Mapping[str, str]) -> list[str]:
    """What a reader must know beside the numbers: one sentence or two per item."""
    several = len(study.seeds) > 1
    seeds = ", ".join(map(str, study.seeds))
    lines = [
        f"Scores times 100; mean over the seeds {seeds}, in brackets the least and the largest of them."
        if several
        else f"Scores times 100 with 95 % bootstrap intervals over examples; seed {seeds}. Examples about one person "
        "are drawn together."
    ]
    for corpus in study.corpora:
        statement = statements.get(corpus, "").rstrip(".")
        counts = ", ".join(
            f"{TITLES[metric][1] if metric in TITLES else metric} n = {cells[key].n}"
            for metric in study.metrics
            if (key := (corpus, "target", next(iter(study.quantizers)), metric)) in cells
        )
        lines.append(f"{corpus}: {'; '.join(filter(None, (statement, counts)))}.")
    if study.methods:
        lines += filter(None, (_per_method(study, key) for key in PER_METHOD))
    lines += [made_elsewhere(name, entry) for name, entry in study.methods.items() if "source" in entry]
    lines += [
        f"{name}: calibrated on at most {entry['samples']} windows of {entry['sample_length']} tokens of "
        f"{entry['calibration']} text."
        for name, entry in study.quantizers.items()
        if "calibration" in entry
    ]
    if study.batch_size:
        lines.append(f"Evaluation batch {study.batch_size}; LLM.int8() picks its outlier columns over a whole batch.")
    return lines


PER_METHOD = {
    "formulation": "Formulation of the losses",
    "storage": "Weights between unlearning steps",
    "state_storage": "Optimiser states between unlearning steps",
    "lr": "Learning rate",
    "alpha": "Weight of the retain term (alpha)",
    "mask": "SURE's mask",
    "parameters": "Trained parameters",
    "windows": "Windows of text",
    "retain_pairing": "Retain windows beside forget windows",
}
# Said only where some method departs from it.
USUAL = {"parameters": "full", "windows": "packed", "retain_pairing": "rotating"}


def _per_method(study: Study, key: str) -> str:
    """One sentence on an option's values over the methods that read it; '' where none does."""
    values: dict[str, list[str]] = {}
    for name, entry in study.methods.items():
        if key in entry:
            values.setdefault(str(entry[key]), []).append(name)
    if list(values) in ([], [USUAL.get(key)]):
        return ""
    everyone = len(values) == 1 and len(next(iter(values.values()))) == len(study.methods)
    parts = values if everyone else (f"{value} for {', '.join(names)}" for value, names in values.items())
    return f"{PER_METHOD[key]}: {'; '.join(parts)}."


def rows(study: Study) -> list[str]:
    """The models of a table, from top to bottom."""
    return [*study.models, *study.methods]


def write_csv(study: Study, cells: Mapping[Key, Cell]) -> str:
    """One line a model; a column `metric.quantizer` and its `.low` and `.high`. Missing cells are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [(metric, quantizer) for metric in study.metrics for quantizer in study.quantizers]
    writer.writerow(
        ["corpus", "model"] + [f"{'.'.join(column)}{part}" for column in columns for part in ("", ".low", ".high")]
    )
    for corpus in study.corpora:
        for model in rows(study):
            line = [corpus, model]
            for metric, quantizer in columns:
                cell = cells.get((corpus, model, quantizer, metric))
                line += [f"{x:.2f}" for x in (cell.value, cell.low, cell.high)] if cell else [""] * 3
            writer.writerow(line)
    return out.getvalue()


def number(value: float, digits: int = 1, minus: str = "−") -> str:
    """`value` with a real minus sign, and none before a zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if not float(text) else text.replace("-", minus)


def interval(cell: Cell, digits: int = 1, minus: str = "−") -> str:
    """The ends of a cell's interval, in brackets."""
    return f"[{number(cell.low, digits, minus)}, {number(cell.high, digits, minus)}]"


def write_markdown(study: Study, cells: Mapping[Key, Cell], remarks: list[str]) -> str:
    """A small table per corpus and metric, since Markdown has no headings over several columns."""
    lines = []
    for corpus in study.corpora:
        for metric in study.metrics:
            lines += [f"**{corpus}: {heading(metric)}**", ""]
            lines += [f"| | {' | '.join(study.quantizers)} |", f"|---|{'---:|' * len(study.quantizers)}"]
            for model in rows(study):
                found = (cells.get((corpus, model, quantizer, metric)) for quantizer in study.quantizers)
                texts = [f"{number(cell.value)}<br><sub>{interval(cell)}</sub>" if cell else EMPTY for cell in found]
                lines.append(f"| {model} | {' | '.join(texts)} |")
            lines.append("")
    return "\n".join([*lines, *(f"{remark}  " for remark in remarks)]) + "\n"


TEX_SPECIAL = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\rightarrow$", "−": "$-$", "–": "--"}
)


def tex(text: str) -> str:
    """`text` with LaTeX's special characters escaped."""
    return text.translate(TEX_SPECIAL)


def write_tex(study: Study, cells: Mapping[Key, Cell], remarks: list[str], table: int) -> str:
    """A table as wide as the text, intervals in small type below the values; needs booktabs and graphicx."""
    width, metrics = len(study.quantizers), study.metrics
    starts = [2 + width * place for place in range(len(metrics))]
    lines = [
        r"% \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"\centering",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (width * len(metrics))}}}",
        r"\toprule",
        " & ".join(["", *(rf"\multicolumn{{{width}}}{{c}}{{{tex(heading(metric))}}}" for metric in metrics)]) + r" \\",
        " ".join(rf"\cmidrule(lr){{{start}-{start + width - 1}}}" for start in starts),
        " & ".join(["", *(tex(quantizer) for _ in metrics for quantizer in study.quantizers)]) + r" \\",
    ]
    for corpus in study.corpora:
        lines += [r"\midrule", rf"\multicolumn{{{1 + width * len(metrics)}}}{{l}}{{\emph{{{tex(corpus)}}}}} \\"]
        for model in rows(study):
            found = [cells.get((corpus, model, q, metric)) for metric in metrics for q in study.quantizers]
            values = [tex(number(cell.value)) if cell else EMPTY.translate(TEX_SPECIAL) for cell in found]
            intervals = [rf"{{\tiny {tex(interval(cell, 0))}}}" if cell else "" for cell in found]
            lines.append(" & ".join([tex(model), *values]) + r" \\")
            lines.append(" & ".join(["", *intervals]) + r" \\")
    caption = tex(" ".join(remarks))
    lines += [
        r"\bottomrule",
        r"\end{tabular}}",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:table{table}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
