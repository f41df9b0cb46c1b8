"""Figure 1: retained knowledge per method in full precision, at 8 bit and at 4 bit.

It is drawn from retained.csv. Full precision and round-to-nearest are bars. Every other quantizer is a small mark of
its own, since it has another grid and is never averaged with round-to-nearest.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from relapse.analysis.retained import ALL, AVERAGE, Retained, read_csv
from relapse.analysis.study import Study, bits
from relapse.report.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, QUIET, RC, VERMILION

BAR, MARK, GAP = 0.2, 0.13, 0.3  # widths in units of the x axis; GAP is between two methods
MARGIN = {"left": 0.85, "right": 0.75, "bottom": 0.62, "top": 0.98}  # inches
COLOURS = {None: GREY, 8: BLUE, 4: VERMILION}
SPARE_COLOURS = (PURPLE, GREEN, ORANGE)
MARKERS = "oDsv^P*X"


@dataclass(frozen=True)
class Look:
    """How a quantizer is drawn, and where: `offset` from the left edge of a method's group."""

    label: str
    colour: str
    marker: str | None  # None: a bar
    offset: float


def looks(study: Study) -> tuple[dict[str, Look], float]:
    """The look of every quantizer of the study, and the width of a method's group."""
    found: dict[str, Look] = {}
    spare, offset = list(SPARE_COLOURS), 0.0
    own = [name for name, entry in study.quantizers.items() if entry["backend"] in ("full", "rtn")]
    used: list[int | None] = []
    for name in own:
        depth = bits(study.quantizers[name])
        plain = depth in COLOURS and depth not in used
        used.append(depth)
        colour = COLOURS[depth] if plain else spare[len(used) % len(spare)]
        label = "full precision" if depth is None else f"{depth} bit ({name})"
        found[name] = Look(label, colour, None, offset + BAR / 2)
        offset += BAR
    others = [name for name in study.quantizers if name not in own]
    offset += MARK / 3 if others else 0
    for place, name in enumerate(others):
        colour = COLOURS.get(bits(study.quantizers[name]), PURPLE)
        found[name] = Look(name, colour, MARKERS[place % len(MARKERS)], offset + MARK / 2)
        offset += MARK
    return {name: found[name] for name in study.quantizers}, offset


def title(study: Study, average: dict[str, Retained]) -> str:
    """The finding in one line, whatever it is: the reconstructed average in full precision and at the fewest bits."""
    coarse = [
        (bits(entry), name)
        for name, entry in study.quantizers.items()
        if entry["backend"] == "rtn" and average.get(name) and average[name].value is not None
    ]
    if not average or "full" not in average:
        return "Knowledge that is left after unlearning"
    kept = f"Utility-constrained unlearning leaves {average['full'].value:.0f} % of the knowledge"
    if not coarse:
        return kept
    depth, name = min(coarse)
    return f"{kept}, and {average[name].value:.0f} % once rounded to {depth} bit"


def _label(method: str, study: Study) -> str:
    return method if method in study.constrained else f"{method}\nno retain term"


def _group(axes: plt.Axes, left: float, rows: dict[str, Retained], looks_: dict[str, Look]) -> None:
    for quantizer, look in looks_.items():
        row, x = rows.get(quantizer), left + look.offset
        if row is None or row.value is None or row.ci_low is None or row.ci_high is None:
            continue
        error = [[max(row.value - row.ci_low, 0)], [max(row.ci_high - row.value, 0)]]
        if look.marker is None:
            axes.bar(x, row.value, BAR * 0.94, color=look.colour, zorder=2)
            axes.errorbar(x, row.value, error, fmt="none", ecolor=INK, elinewidth=0.9, zorder=3)
        else:
            axes.errorbar(
                x,
                row.value,
                error,
                fmt=look.marker,
                markersize=3.6,
                markerfacecolor="white",
                markeredgecolor=look.colour,
                markeredgewidth=1.0,
                ecolor=look.colour,
                elinewidth=0.7,
                zorder=3,
            )


def _panel(
    axes: plt.Axes, groups: dict[str, dict[str, Retained]], looks_: dict[str, Look], width: float, top: float
) -> None:
    for place, rows in enumerate(groups.values()):
        _group(axes, place * (width + GAP), rows, looks_)
    bars = [look.offset for look in looks_.values() if look.marker is None] or [width / 2]
    middle = sum(bars) / len(bars)
    axes.set_xticks([place * (width + GAP) + middle for place in range(len(groups))], list(groups))
    axes.set_xlim(-GAP, len(groups) * (width + GAP))
    axes.set_ylim(0, top)
    axes.axhline(100, color=INK, linewidth=1.0, zorder=1)


def retained_figure(study: Study, rows: list[Retained]) -> plt.Figure:
    """The figure: one row of bars per corpus, and the reconstructed average of the utility-constrained methods.

    rows: all of retained.csv.
    """
    by_model: dict[tuple[str, str], dict[str, Retained]] = {}
    for row in rows:
        by_model.setdefault((row.corpus, row.model), {})[row.quantizer] = row
    average = by_model.get((ALL, AVERAGE), {})
    looks_, width = looks(study)
    top = max(112.0, 1.04 * max(row.ci_high or 0 for row in rows))
    columns = [len(study.methods) + 0.2] + ([1.55] if average else [])
    count = len(study.corpora)
    wide, high = max(6.4, MARGIN["left"] + MARGIN["right"] + 1.08 * sum(columns)), 1.75 + 2.35 * count
    heading = textwrap.wrap(title(study, average), int((wide - 0.2) / 0.1))
    high += 0.2 * (len(heading) - 1)
    with plt.rc_context(RC):
        figure = plt.figure(figsize=(wide, high))
        grid = figure.add_gridspec(
            count,
            len(columns),
            width_ratios=columns,
            wspace=0.04,
            hspace=0.35,
            left=MARGIN["left"] / wide,
            right=1 - MARGIN["right"] / wide,
            bottom=MARGIN["bottom"] / high,
            top=1 - (MARGIN["top"] + 0.2 * (len(heading) - 1)) / high,
        )
        for place, corpus in enumerate(study.corpora):
            axes = figure.add_subplot(grid[place, 0])
            _panel(axes, {_label(name, study): by_model[corpus, name] for name in study.methods}, looks_, width, top)
            for label, name in zip(axes.get_xticklabels(), study.methods, strict=True):
                label.set_color(INK if name in study.constrained else QUIET)
            axes.set_ylabel(f"{corpus}\n% of the target's" if count > 1 else "retained knowledge,\n% of the target's")
            outer = axes
            if average and place == 0:
                outer = figure.add_subplot(grid[place, 1], sharey=axes)
                _panel(outer, {"average": average}, looks_, width, top)
                outer.tick_params(labelleft=False)
                outer.spines["left"].set_visible(False)
                outer.get_xticklabels()[0].set_fontweight("bold")
                outer.set_xlabel("reconstructed,\nutility-constrained", fontsize=7.5, color=QUIET)
                _values(outer, average, looks_)
            _levels(axes, outer, by_model.get((corpus, "retrain")))
        figure.text(0.12 / wide, 1 - 0.2 / high, "\n".join(heading), fontsize=12.5, fontweight="bold", va="top")
        _legend(figure, looks_, 0.46 + 0.2 * (len(heading) - 1))
    return figure


def _levels(axes: plt.Axes, outer: plt.Axes, retrain: dict[str, Retained] | None) -> None:
    """Names the target's line and draws that of retrain in full precision; names stand right of `outer`."""
    edge = outer.get_yaxis_transform()
    outer.text(1.02, 100, "target", transform=edge, va="center", fontsize=8.5, fontweight="bold")
    if retrain and (level := retrain["full"].value) is not None:
        axes.axhline(level, color=QUIET, linewidth=1.0, linestyle=(0, (4, 2.5)), zorder=1)
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
        where: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "bottom", "bbox": paper, "zorder": 6}
        axes.text(0.004, level + 1.5, "retrain", fontsize=8, color=QUIET, **where)


def _values(axes: plt.Axes, rows: dict[str, Retained], looks_: dict[str, Look]) -> None:
    for quantizer, look in looks_.items():
        row = rows.get(quantizer)
        if row and look.marker is None and row.value is not None:
            axes.annotate(
                f"{row.value:.0f}",
                (look.offset, row.ci_high),
                (0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
            )


def _legend(figure: plt.Figure, looks_: dict[str, Look], below_top: float) -> None:
    """The legend, `below_top` inches under the figure's upper edge."""
    wide, high = figure.get_size_inches()
    handles = [
        plt.Rectangle((0, 0), 1, 1, color=look.colour)
        if look.marker is None
        else plt.Line2D(
            [], [], marker=look.marker, color=look.colour, markerfacecolor="white", markersize=4, linewidth=0.7
        )
        for look in looks_.values()
    ]
    figure.legend(
        handles,
        [look.label for look in looks_.values()],
        loc="upper left",
        bbox_to_anchor=(0.06 / wide, 1 - below_top / high),
        ncols=min(len(handles), int(wide / 1.05)),
        fontsize=8.5,
        handlelength=1.1,
        columnspacing=1.3,
        handletextpad=0.5,
    )


def draw(study: Study, files: Sequence[Path]) -> plt.Figure:
    """files: retained.csv."""
    return retained_figure(study, read_csv(files[0]))
