"""Why knowledge comes back: the recovered share of what was forgotten against the surviving share of the update."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from relapse.analysis.recovery import correlation
from relapse.analysis.study import Study
from relapse.report.rows import STORAGE_LABELS, STORAGE_MARKERS, quantizer_colour, read_cells
from relapse.report.style import INK, QUIET, RC, heading


def forgotten(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells in which there is something to recover, and a share of it with an interval."""
    return cells[(cells["verdict"] != "nothing forgotten") & cells["recovered"].notna() & cells["ci_low"].notna()]


def survival_figure(study: Study, cells: pd.DataFrame) -> plt.Figure:
    """Recovered share of what was forgotten against the surviving share of the update; a point per model and quantizer.

    Empty, and saying so, where no model forgot anything.
    """
    shown = forgotten(cells).dropna(subset=["surviving"])
    left_out = len(cells) - len(shown)
    with plt.rc_context(RC):
        figure, axes = plt.subplots(figsize=(7.2, 4.9))
        figure.subplots_adjust(left=0.1, right=0.69, bottom=0.12, top=0.83)
        for (quantizer, storage), group in shown.groupby(["quantizer", "storage"]):
            colour = quantizer_colour(study.quantizers[quantizer])
            x, y = group["surviving"], 100 * group["recovered"]
            error = [y - 100 * group["ci_low"], 100 * group["ci_high"] - y]
            axes.errorbar(x, y, [e.clip(lower=0) for e in error], fmt="none", ecolor=colour, elinewidth=0.5, alpha=0.35)
            axes.plot(
                *(x, y),
                STORAGE_MARKERS[storage],
                color=colour,
                markersize=5,
                alpha=0.85,
                markeredgecolor="white",
                markeredgewidth=0.5,
            )
        axes.axhline(0, color=QUIET, linewidth=0.8)
        axes.set_xlabel("surviving share of the update  (0: the grid absorbs it, 1: all of it survives)")
        axes.set_ylabel("recovered share of what was forgotten, %")
        axes.set_xlim(-0.03, max(1.08, shown["surviving"].max() + 0.03) if len(shown) else 1.08)
        low, high = (100 * shown["recovered"]).quantile([0.01, 0.99]).fillna(0)
        axes.set_ylim(min(-30, low - 15), max(110, high + 15))
        rho = correlation(shown["surviving"], shown["recovered"])
        note = f"{len(shown)} cells with 95 % intervals"
        note += "; " if math.isnan(rho) else f"; rank correlation {rho:.2f}. "
        note += f"{left_out} cells that forgot too little to tell are left out." if left_out else ""
        heading(figure, _survival_title(shown), note)
        _survival_legend(figure, study, shown)
    return figure


def _survival_title(shown: pd.DataFrame) -> str:
    """The median surviving share of the cells that recover, and of the others."""
    if shown.empty:
        return "Nothing was forgotten, so that nothing can come back"
    back = shown["verdict"] == "recovered"
    if back.all() or not back.any():
        return f"Knowledge comes back in {'every' if back.any() else 'no'} cell"
    inside, outside = shown[back]["surviving"].median(), shown[~back]["surviving"].median()
    return f"Of the update {inside:.2f} survives where knowledge comes back, {outside:.2f} where it does not (medians)"


def _survival_legend(figure: plt.Figure, study: Study, shown: pd.DataFrame) -> None:
    present = [name for name in study.quantizers if name in set(shown["quantizer"])]
    colours = [
        plt.Line2D([], [], marker="o", linestyle="", color=quantizer_colour(study.quantizers[name]), label=name)
        for name in present
    ]
    shapes = [
        plt.Line2D([], [], marker=marker, linestyle="", color=INK, markersize=5, label=STORAGE_LABELS[name])
        for name, marker in STORAGE_MARKERS.items()
        if name in set(shown["storage"])
    ]
    style: dict[str, Any] = {"loc": "upper left", "fontsize": 8, "alignment": "left", "handletextpad": 0.3}
    figure.legend(handles=colours, title="quantizer", bbox_to_anchor=(0.7, 0.84), **style)
    below = 0.84 - 0.05 * (len(colours) + 1.6)
    figure.legend(handles=shapes, title="storage", bbox_to_anchor=(0.7, below), **style)


def draw(study: Study, files: Sequence[Path]) -> plt.Figure:
    """files: recovery.csv, absorption.csv."""
    return survival_figure(study, read_cells(study, *files))
