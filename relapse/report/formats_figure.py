"""Which formats bring knowledge back: those whose cell around zero is wider than the edge below which weights moved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from relapse.analysis.study import Study
from relapse.report.lr_figure import rate_base
from relapse.report.rows import read_cells
from relapse.report.style import BLUE, GREEN, GREY, ORANGE, QUIET, RC, VERMILION, heading
from relapse.report.survival_figure import forgotten

COLOURS = (BLUE, GREEN, ORANGE, VERMILION)  # from the smallest edge on


def read(study: Study, recovery: Path, absorption: Path) -> pd.DataFrame:
    """`read_cells` with zero_cell and reach, the edge, both in standard deviations of the target's weights (means).

    reach is infinite where storage lets every weight move. Without formats that round no weight by themselves.
    """
    cells, updates = read_cells(study, recovery, absorption), pd.read_csv(absorption)
    updates["reach"] = (updates["edge"] / updates["deviation"]).fillna(float("inf"))
    means = updates.groupby(["corpus", "model", "quantizer"])[["zero_cell", "reach"]].mean()
    cells = cells.merge(means.reset_index(), on=["corpus", "model", "quantizer"])
    return cells[cells["zero_cell"].notna() & (cells["quantizer"] != "full")]


def formats_figure(study: Study, cells: pd.DataFrame) -> plt.Figure:
    """Recovered share under every format, in the order of zero's cell; a line for each edge. cells: as `read`.

    Raises RelapseError for a study without a grid of learning rates.
    """
    base = rate_base(cells)
    method = next(entry["method"] for entry in study.methods.values() if entry["base"] == base)
    of_method = cells[[study.methods[name].get("method") == method for name in cells["model"]]]
    constant = [study.methods[name].get("lr_schedule", "constant") == "constant" for name in of_method["model"]]
    shown = forgotten(of_method[constant])
    order = cells.groupby("quantizer")["zero_cell"].mean().sort_values(kind="stable")
    with plt.rc_context(RC):
        figure, axes = plt.subplots(figsize=(9.2, 4.9))
        figure.subplots_adjust(left=0.08, right=0.79, bottom=0.3, top=0.8)
        places = {name: place for place, name in enumerate(order.index)}
        reaches = sorted(shown["reach"].unique())
        for number, reach in enumerate(reaches):
            colour = GREY if reach == float("inf") else COLOURS[min(number, len(COLOURS) - 1)]
            label = "float32: all move" if reach == float("inf") else f"{reach:.2f}"
            line = shown[shown["reach"] == reach].groupby("quantizer")["recovered"].mean()
            line = line.reindex([name for name in places if name in line.index])
            x = [places[name] for name in line.index]
            axes.plot(x, 100 * line.clip(-0.3, 1.3), "o-", color=colour, markersize=4, linewidth=1.6, label=label)
            if reach != float("inf"):
                passed = sum(order <= reach) - 0.5
                axes.axvline(passed, color=colour, linewidth=1.1, linestyle=(0, (4, 3)), alpha=0.7, zorder=1)
        axes.axhline(0, color=QUIET, linewidth=0.8)
        axes.set_xticks(range(len(order)))
        axes.set_xticklabels(
            [f"{name}  {cell:.2f}" for name, cell in order.items()], rotation=60, ha="right", fontsize=8
        )
        axes.set_ylabel("recovered share, %")
        axes.set_xlabel("format, with half the width of zero's cell in standard deviations of the weights")
        axes.set_ylim(-35, 135)
        if reaches:
            style: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "fontsize": 8.5}
            axes.legend(title="edge: weights\nbelow it move", **style)
        note = f"{method}, constant rate, mean over seeds. Dashed: zero's cell is as wide as the edge of that colour; "
        note += "by the theory knowledge comes back to the right of it. The title has medians over cells, and how many "
        note += "there are. Models that forgot nothing are left out."
        heading(figure, _title(shown), note)
    return figure


def _title(shown: pd.DataFrame) -> str:
    """How much comes back on either side of the edge."""
    if shown.empty:
        return "Nothing was forgotten, so that nothing can come back"
    wider = shown["zero_cell"] > shown["reach"]
    parts = [
        f"where it is {name}, {100 * side['recovered'].median():.0f} % comes back ({len(side)})"
        for name, side in (("wider", shown[wider]), ("narrower", shown[~wider]))
        if len(side)
    ]
    return f"Zero's cell against the edge: {'; '.join(parts)}".replace("-0 %", "0 %")


def draw(study: Study, files: Sequence[Path]) -> plt.Figure:
    """files: recovery.csv, absorption.csv."""
    return formats_figure(study, read(study, *files))
