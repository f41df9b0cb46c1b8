"""Figure 2: recovered share under round-to-nearest, GPTQ and AWQ, for each calibration text and method.

It is drawn from recovery.csv and the study's entries. Figure 1 shows quantizers with other grids (FP4, NF4, int8 of
bitsandbytes).
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt

from relapse.analysis.recovery import MARGIN, Recovery, read_csv
from relapse.analysis.study import Study, bits
from relapse.report.style import GREEN, GREY, INK, NAVY, PURPLE, QUIET, RC, VERMILION, heading
from relapse.runtime.errors import RelapseError

BACKENDS = {"rtn": "RTN", "gptq": "GPTQ", "awq": "AWQ", "autogptq": "AutoGPTQ", "autoawq": "AutoAWQ"}
TEXT_COLOURS = {None: GREY, "general": NAVY, "retain": GREEN, "forget": VERMILION, "file": PURPLE}
MARKERS = "oDs^vP*X"


def shown(study: Study) -> list[str]:
    """The quantizers of the figure, those of the same backend and bits together.

    Raises RelapseError for a study without a calibrated one.
    """
    names = [name for name, entry in study.quantizers.items() if entry["backend"] in BACKENDS]
    if not any("calibration" in study.quantizers[name] for name in names):
        raise RelapseError("this study has no quantizer that is calibrated on text")
    order, texts = list(BACKENDS), list(TEXT_COLOURS)

    def key(name: str) -> tuple:
        entry = study.quantizers[name]
        return -(bits(entry) or 0), order.index(entry["backend"]), texts.index(entry.get("calibration")), name

    return sorted(names, key=key)


def _label(study: Study, name: str) -> str:
    entry = study.quantizers[name]
    text = entry.get("calibration")
    size = entry.get("group_size")
    groups = "rows" if size == "row" else f"groups of {size}"
    return f"{BACKENDS[entry['backend']]} {bits(entry)} bit, {groups}" + (f"\n{text} text" if text else "")


def calibration_figure(study: Study, rows: Sequence[Recovery]) -> plt.Figure:
    """A line per quantizer and text, a mark with its interval per utility-constrained method; one panel a corpus.

    rows: recovery.csv.
    """
    names = shown(study)
    methods = [name for name in study.constrained if any(study.covers(name, quantizer) for quantizer in names)]
    cells = {(row.corpus, row.model, row.quantizer): row for row in rows if row.metric == "knowledge"}
    with plt.rc_context(RC):
        high = 0.52 * len(names) + 2.1
        figure, grid = plt.subplots(
            1, len(study.corpora), figsize=(2.3 + 5.2 * len(study.corpora), high), sharey=True, squeeze=False
        )
        figure.subplots_adjust(left=0.24 / len(study.corpora), right=0.98, bottom=0.95 / high, top=1 - 1.05 / high)
        for axes, corpus in zip(grid[0], study.corpora, strict=True):
            _panel(axes, study, corpus, names, methods, cells)
        grid[0][0].set_yticks(range(len(names)), [_label(study, name) for name in reversed(names)], fontsize=8.5)
        heading(figure, _title(study, names, methods, cells), _note(study))
        handles = [
            plt.Line2D([], [], marker=marker, linestyle="", color=QUIET, markersize=5, label=name)
            for marker, name in zip(MARKERS, methods, strict=False)
        ]
        figure.legend(handles=handles, loc="lower center", ncols=6, fontsize=8.5, handletextpad=0.3)
    return figure


def _panel(axes: plt.Axes, study: Study, corpus: str, names: list[str], methods: list[str], cells: dict) -> None:
    axes.axvspan(-1000, 100 * MARGIN, color="#f2f2f2", zorder=0)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    axes.axvline(100, color=INK, linewidth=0.8, zorder=1)
    for line, quantizer in enumerate(reversed(names)):
        colour = TEXT_COLOURS[study.quantizers[quantizer].get("calibration")]
        for place, (method, marker) in enumerate(zip(methods, MARKERS, strict=False)):
            row = cells.get((corpus, method, quantizer))
            if row is None or row.recovered is None or row.ci_low is None:
                continue
            value, y = 100 * row.recovered, line + 0.3 - 0.6 * place / max(1, len(methods) - 1)
            error = [[max(value - 100 * row.ci_low, 0)], [max(100 * row.ci_high - value, 0)]]
            axes.errorbar(*(value, y, None, error), fmt=marker, color=colour, markersize=4.5, elinewidth=0.8, zorder=3)
    for line in range(1, len(names)):
        above, below = (study.quantizers[names[len(names) - 1 - place]] for place in (line, line - 1))
        if (bits(above), above["backend"]) != (bits(below), below["backend"]):
            axes.axhline(line - 0.5, color=QUIET, linewidth=0.5)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(-30, 125)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_xlabel("recovered share of what was forgotten, %" + (f" ({corpus})" if len(study.corpora) > 1 else ""))


def _note(study: Study) -> str:
    over = f"{len(study.seeds)} seeds" if len(study.seeds) > 1 else "people or examples"
    return (
        f"VerMem and KnowMem together, 95 % intervals over {over}. "
        "Colours: calibration text. Grey area: below the margin, where nothing is detected."
    )


def _title(study: Study, names: list[str], methods: list[str], cells: dict) -> str:
    """The median recovered share of each backend at the fewest bits."""
    fewest = min(bits(study.quantizers[name]) or 0 for name in names)
    parts = []
    for backend, label in BACKENDS.items():
        found = [
            100 * row.recovered
            for (_, model, quantizer), row in cells.items()
            if model in methods
            and quantizer in names
            and study.quantizers[quantizer]["backend"] == backend
            and bits(study.quantizers[quantizer]) == fewest
            and row.recovered is not None
            and row.verdict != "nothing forgotten"
        ]
        if found:
            parts.append(f"{median(found):.0f} % under {label}")
    if not parts:
        return "Nothing was forgotten, so that nothing can come back"
    return f"At {fewest} bit comes back: {', '.join(parts)} (medians)"


def draw(study: Study, files: Sequence[Path]) -> plt.Figure:
    """files: recovery.csv."""
    return calibration_figure(study, read_csv(files[0]))
