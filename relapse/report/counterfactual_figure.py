"""What brings knowledge back: an unlearned model, quantized, and with each part of the quantizer's effect alone."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from relapse.analysis.counterfactual import WHOLE, Part, read_csv
from relapse.analysis.study import Study
from relapse.report.style import BLUE, GREEN, GREY, ORANGE, PURPLE, QUIET, RC, VERMILION, heading

# part -> its colour and what the figure calls it, from top to bottom; beside the unlearned model itself.
PARTS = {
    WHOLE: (VERMILION, "quantized: Q(u)"),
    "update": (ORANGE, "update without noise: t + Q(u) − Q(t)"),
    "survived": (PURPLE, "update without its absorbed part"),
    "noise": (GREEN, "noise, whole update: Q(t) + u − t"),
    "absorbed": (BLUE, "absorbed part of the update alone"),
}
ROW = 0.24  # inches


def shown(rows: Sequence[Part]) -> dict[tuple[str, str], list[Part]]:
    """(model, quantizer) -> its parts in the figure's order, of models that have counterfactuals, by `knowledge`."""
    taken = {row.model for row in rows if row.part != WHOLE}
    found: dict[tuple[str, str], list[Part]] = {}
    for row in rows:
        if row.metric == "knowledge" and row.model in taken:
            found.setdefault((row.model, row.quantizer), []).append(row)
    return {key: sorted(its, key=lambda row: list(PARTS).index(row.part)) for key, its in found.items()}


def title(rows: Sequence[Part]) -> str:
    """What the update and the noise do where the quantized model has regained knowledge, as means over models."""
    change = {(row.model, row.quantizer, row.part): row.from_full for row in rows if row.metric == "knowledge"}
    back = [key[:2] for key, value in change.items() if key[2] == WHOLE and value > 5 and (*key[:2], "noise") in change]
    if not back:
        return "No quantizer with counterfactuals brings knowledge back"
    update, noise = (sum(change[*key, part] for key in back) / len(back) for part in ("update", "noise"))
    does = f"brings back {noise:.0f}" if noise > 0 else f"takes {-noise:.0f}"
    return f"The lost update brings back {update:.0f} points of knowledge; the rounding noise {does}"


def draw(study: Study, files: Sequence[Path]) -> plt.Figure:
    """files: counterfactual.csv. A panel for each model; the change against its full precision."""
    (path,) = files
    rows = read_csv(path)
    groups = shown(rows)
    models = list(dict.fromkeys(model for model, _ in groups))
    lines = max((sum(len(its) + 1 for key, its in groups.items() if key[0] == model) for model in models), default=1)
    high = 1.9 + ROW * lines
    with plt.rc_context(RC | {"axes.grid.axis": "x"}):
        figure, panels = plt.subplots(
            1, max(1, len(models)), figsize=(8.4, high), squeeze=False, sharex=True, sharey=True
        )
        figure.subplots_adjust(left=0.16, right=0.98, top=1 - 0.95 / high, bottom=1.0 / high, wspace=0.08)
        for axes, model in zip(panels[0], models, strict=False):
            _panel(axes, {quantizer: its for (name, quantizer), its in groups.items() if name == model})
            axes.set_title(model, fontsize=9.5, loc="left")
            axes.set_xlabel("change of knowledge against full precision, points")
        panels[0][0].set_ylim(lines - 0.2, -0.9)
        handles = [
            plt.Line2D([], [], marker="o", linestyle="", color=colour, label=label) for colour, label in PARTS.values()
        ]
        figure.legend(handles=handles, loc="lower left", ncols=3, fontsize=8, handletextpad=0.2, columnspacing=1.2)
        count = len(study.seeds)
        over = f"{count} seeds" if count > 1 else "people or examples"
        note = (
            f"VerMem and KnowMem on forget together, with 95 % intervals over {over}. Grey: what the target knows more."
        )
        heading(figure, title(rows), note)
    return figure


def _panel(axes: plt.Axes, groups: dict[str, list[Part]]) -> None:
    place, ticks = 0, {}
    for quantizer, its in groups.items():
        gap = its[0].target - its[0].full
        axes.fill_betweenx(
            [place - 0.5, place + len(its) - 0.5], gap - 0.6, gap + 0.6, color=GREY, alpha=0.6, linewidth=0
        )
        ticks[place + (len(its) - 1) / 2] = quantizer
        for row in its:
            colour = PARTS[row.part][0]
            axes.plot([row.from_full_low, row.from_full_high], [place, place], color=colour, linewidth=1.4)
            axes.plot(row.from_full, place, "o", color=colour, markersize=5)
            place += 1
        place += 1
    axes.axvline(0, color=QUIET, linewidth=0.8)
    axes.set_yticks(list(ticks), list(ticks.values()))
