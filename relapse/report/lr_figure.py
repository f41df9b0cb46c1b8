"""Why knowledge comes back: recovery over learning rate and storage."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import NullFormatter

from relapse.analysis.bfloat16 import passing_step
from relapse.analysis.study import Study
from relapse.report.rows import STORAGE_LABELS, quantizer_colour, read_cells
from relapse.report.style import QUIET, RC, heading
from relapse.report.survival_figure import forgotten
from relapse.runtime.errors import RelapseError


def rate_base(cells: pd.DataFrame) -> str:
    """The entry with the most learning rates. Raises RelapseError where none has several."""
    rates = cells[cells["sure"].fillna("") == ""].groupby("base")["lr"].nunique()
    if rates.empty or rates.max() < 2:
        raise RelapseError("no method of this study has a grid of learning rates")
    return str(rates.idxmax())


def lr_figure(study: Study, cells: pd.DataFrame) -> plt.Figure:
    """Recovered share over learning rate, a panel for each storage; the rate at which the edge passes half a step.

    Raises RelapseError for a study without a grid of learning rates.
    """
    base = rate_base(cells)
    method = next(entry["method"] for entry in study.methods.values() if entry["base"] == base)
    shown = cells[[study.methods[name].get("method") == method for name in cells["model"]]]
    panels = [name for name in STORAGE_LABELS if shown[shown["storage"] == name]["lr"].nunique() > 1]
    with plt.rc_context(RC):
        figure, grid = plt.subplots(1, len(panels), figsize=(2.65 * len(panels) + 1.1, 4.2), sharey=True, squeeze=False)
        figure.subplots_adjust(left=0.08, right=0.98, bottom=0.27, top=0.77, wspace=0.08)
        for axes, storage in zip(grid[0], panels, strict=True):
            _rate_panel(axes, study, shown[shown["storage"] == storage], storage)
        grid[0][0].set_ylabel("recovered share, %")
        grid[0][0].set_ylim(-35, 125)
        note = f"{method}. Hollow: stopped at the limit of steps. Rates at which nothing was forgotten are left out. "
        note += "Dashed: left of it bfloat16 moves only weights within half a step of that uniform grid."
        heading(figure, _lr_title(study, shown), note)
        handles = [
            plt.Line2D(
                [], [], color=quantizer_colour(entry), marker="o", markersize=4, label=name, linestyle=_line(name)
            )
            for name, entry in study.quantizers.items()
            if name != "full"
        ]
        figure.legend(handles=handles, loc="lower center", ncols=4, fontsize=8.5, handlelength=2.2)
    return figure


def _line(quantizer: str) -> Any:
    """Solid, or dotted and dash-dotted for the narrow groups and whole rows of the same bits."""
    return {"g32": ":", "row": "-."}.get(quantizer.rsplit("-", 1)[-1], "-")


def _rate_panel(axes: plt.Axes, study: Study, cells: pd.DataFrame, storage: str) -> None:
    for name, entry in study.quantizers.items():
        line = forgotten(cells[cells["quantizer"] == name]).sort_values("lr")
        if line.empty:
            continue
        colour, y = quantizer_colour(entry), 100 * line["recovered"].clip(-0.3, 1.2)
        axes.plot(line["lr"], y, _line(name), color=colour, linewidth=1.4, zorder=2)
        for hollow in (True, False):
            part = line[line["limit"] == hollow]
            face = "white" if hollow else colour
            axes.plot(part["lr"], y[part.index], "o", color=colour, markerfacecolor=face, markersize=4.5, zorder=3)
        if storage.startswith("bfloat16") and storage != "bfloat16_stochastic" and entry["backend"] == "rtn":
            rate = passing_step(line["half_step"].mean())
            if cells["lr"].min() <= rate <= cells["lr"].max():
                axes.axvline(rate, color=colour, linewidth=1.1, linestyle=(0, (4, 3)), alpha=0.7, zorder=1)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(0.8 * cells["lr"].min(), 1.25 * cells["lr"].max())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("learning rate")
    axes.set_title(STORAGE_LABELS[storage], fontsize=9.5)


def _lr_title(study: Study, cells: pd.DataFrame) -> str:
    """Which storages recover under a 4-bit uniform grid at any rate, from the verdicts."""
    four = [name for name, entry in study.quantizers.items() if entry["backend"] == "rtn" and entry.get("bits") == 4]
    back = cells[(cells["verdict"] == "recovered") & cells["quantizer"].isin(four)]
    if back.empty:
        return "At no rate and in no storage does knowledge come back at 4 bit"
    names = [label for name, label in STORAGE_LABELS.items() if name in set(back["storage"])]
    return f"int4 brings knowledge back up to lr {back['lr'].max():.1g}, and only with: {'; '.join(names)}"


def draw(study: Study, files: Sequence[Path]) -> plt.Figure:
    """files: recovery.csv, absorption.csv."""
    return lr_figure(study, read_cells(study, *files))
