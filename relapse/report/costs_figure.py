"""Figure: what robustness costs. Seconds a step against the largest recovered share, one row of labels a model.

It is drawn from recovery.csv and costs.csv.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from relapse.analysis.recovery import MARGIN
from relapse.analysis.study import Study
from relapse.report.style import INK, NAVY, QUIET, RC, VERMILION, heading


def worst(study: Study, recovery: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Of every model that forgot something, the row with the largest recovered share under one of `names`."""
    shown = recovery[
        (recovery["metric"] == "knowledge")
        & recovery["model"].isin(list(study.methods))
        & recovery["quantizer"].isin(list(names))
        & (recovery["verdict"] != "nothing forgotten")
    ].dropna(subset=["recovered", "ci_low", "ci_high"])
    return shown.loc[shown.groupby("model")["recovered"].idxmax()].set_index("model")


def costs_figure(study: Study, recovery: pd.DataFrame, costs: pd.DataFrame) -> plt.Figure:
    """One panel for quantizers and, where the study has some, one for attacks; rows are models, the cheapest first.

    A model's row shows the recovered share that is largest among the panel's columns, with its interval, and which
    column that is. The label has the seconds a step, median over corpora and seeds, in those of the cheapest.
    """
    seconds = costs.groupby("model")["seconds_per_step"].median().sort_values(ascending=False)
    quantizers = [name for name in study.changes if name not in study.attacks]
    panels = [("quantizers", worst(study, recovery, quantizers), VERMILION)]
    if study.attacks:
        panels.append(("attacks", worst(study, recovery, list(study.attacks)), NAVY))
    rows = [name for name in seconds.index if name in study.methods]
    with plt.rc_context(RC | {"axes.grid.axis": "x"}):
        wide, high = 3.2 + 3.4 * len(panels), 0.34 * len(rows) + 1.75
        figure, grid = plt.subplots(1, len(panels), figsize=(wide, high), sharey=True, squeeze=False)
        figure.subplots_adjust(left=2.75 / wide, right=1 - 0.25 / wide, bottom=0.5 / high, top=1 - 1.05 / high)
        for axes, (what, cells, colour) in zip(grid[0], panels, strict=True):
            _panel(axes, rows, cells, colour)
            axes.set_xlabel(f"largest recovered share under {what}, %")
        labels = [f"{name}  {seconds[name] / seconds.min():.1f} x" for name in rows]
        grid[0][0].set_yticks(range(len(rows)), labels, fontsize=8, color=INK)
        cheapest = f"{1000 * seconds.min():.0f} ms"
        note = (
            f"Beside each name a step's processor time, of the cheapest run's ({cheapest}). VerMem and KnowMem "
            f"together, 95 % intervals; knowledge comes back if all of one lies beyond the dashed {100 * MARGIN:.0f} %."
        )
        heading(figure, _title([cells for _, cells, _ in panels]), note)
    return figure


def _panel(axes: plt.Axes, rows: Sequence[str], cells: pd.DataFrame, colour: str) -> None:
    axes.axvline(100 * MARGIN, color=QUIET, linewidth=0.8, linestyle="--")
    axes.axvline(0, color=QUIET, linewidth=0.8)
    for y, name in enumerate(rows):
        if name not in cells.index:
            axes.text(2, y, "nothing forgotten", fontsize=7.5, color=QUIET, va="center")
            continue
        cell = cells.loc[name]
        axes.plot([100 * cell["ci_low"], 100 * cell["ci_high"]], [y, y], color=colour, linewidth=1.4, alpha=0.5)
        axes.plot(100 * cell["recovered"], y, "o", color=colour, markersize=5)
        axes.text(100 * cell["recovered"], y + 0.3, cell["quantizer"], fontsize=6.5, color=QUIET, ha="center")
    axes.set_ylim(-0.6, len(rows) - 0.3)
    axes.set_xlim(-25, 125)


def _title(panels: Sequence[pd.DataFrame]) -> str:
    """In how many models knowledge comes back, by quantizers and by attacks."""
    counts = [f"{(cells['ci_low'] > MARGIN).sum()} of {len(cells)}" for cells in panels]
    attacked = f", in {counts[1]} under an attack" if len(counts) > 1 else ""
    return f"Knowledge comes back in {counts[0]} models that forgot under some quantizer{attacked}"


def draw(study: Study, files: Sequence[Path]) -> plt.Figure:
    """files: recovery.csv, costs.csv."""
    return costs_figure(study, pd.read_csv(files[0]), pd.read_csv(files[1]))
