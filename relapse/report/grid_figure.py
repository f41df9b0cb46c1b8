"""Where on a quantizer's grid the changed weights lie, for each storage: the reason why an update survives or not."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist

from relapse.analysis.study import Study, bits
from relapse.report.rows import STORAGE_LABELS, storage_of
from relapse.report.style import BLUE, GREEN, GREY, INK, NAVY, ORANGE, PURPLE, RC, RULE, VERMILION, heading
from relapse.runtime.errors import RelapseError

COLOURS = {"float32": BLUE, "bfloat16_stochastic": ORANGE, "bfloat16": VERMILION}


def middle_rate(study: Study) -> list[str]:
    """A model for each storage, of the entry that has most of them, at its middle learning rate."""
    bases: dict[str, dict[tuple[str, float], str]] = {}
    for name, entry in study.methods.items():
        if storage_of(entry) in COLOURS and not entry.get("mask"):
            bases.setdefault(entry["base"], {})[storage_of(entry), entry["lr"]] = name
    if not bases:
        return []

    def order(models: dict[tuple[str, float], str]) -> tuple:
        constrained = study.methods[next(iter(models.values()))]["constrained"]
        return len({storage for storage, _ in models}), len(models), constrained

    found = max(bases.values(), key=order)
    rates = sorted({rate for _, rate in found})
    return [name for (_, rate), name in found.items() if rate == rates[len(rates) // 2]]


def compared(study: Study) -> list[str]:
    """The models to compare: those of `middle_rate`, and all that were made elsewhere.

    Raises RelapseError for a study that has none.
    """
    found = middle_rate(study) + [name for name, entry in study.methods.items() if storage_of(entry) == "elsewhere"]
    if not found:
        raise RelapseError("this study has no method without a mask, so that there is no update to place on a grid")
    return found


def looks(study: Study, models: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Model -> its colour and its label: its storage, or the name of one that was made elsewhere."""
    others = itertools.cycle((GREEN, PURPLE, NAVY, GREY, INK))
    storages = {name: storage_of(study.methods[name]) for name in models}
    return {
        name: (COLOURS[storage], STORAGE_LABELS[storage]) if storage in COLOURS else (next(others), name)
        for name, storage in storages.items()
    }


def panels(study: Study, absorptions: Sequence[dict]) -> list[str]:
    """A 4-bit quantizer of every kind that rounds weights one by one: the first uniform grid, FP4, NF4."""
    kinds: dict[tuple, str] = {}
    gridded = {found["quantizer"] for found in absorptions if found["histogram"]}
    for name, entry in study.quantizers.items():
        if bits(entry) == 4 and name in gridded:
            kinds.setdefault((entry["backend"], entry.get("format")), name)
    return list(kinds.values())


def grid_figure(study: Study, absorptions: Sequence[dict]) -> plt.Figure:
    """A panel per 4-bit quantizer: all weights (grey) and the squared change (lines), by |w| over the group's largest.

    absorptions: what scripts.absorption wrote for the models of `compared`, seeds and corpora added up.
    """
    quantizers = panels(study, absorptions)
    if not quantizers:
        raise RelapseError("this study has no 4-bit quantizer")
    models = compared(study)
    styles = looks(study, models)
    with plt.rc_context(RC):
        # Wide enough for title and note, however few the panels are.
        size = (max(2.6 * len(quantizers) + 0.9, 8.0), 3.9)
        figure, grid = plt.subplots(1, len(quantizers), figsize=size, sharey=True, squeeze=False)
        figure.subplots_adjust(
            left=0.08 if len(quantizers) > 2 else 0.12, right=0.98, bottom=0.27, top=0.70, wspace=0.08
        )
        for axes, quantizer in zip(grid[0], quantizers, strict=True):
            _panel(axes, styles, quantizer, absorptions)
        grid[0][0].set_ylabel("density")
        entry = study.methods[models[0]]
        note = f"{entry['base']}, lr {entry['lr']:g}. " if "lr" in entry else ""
        note += "Lines: share of the squared change. Grey: all weights. "
        note += "Vertical: where the grid rounds to another value."
        heading(figure, _title(styles, quantizers[0], absorptions), note)
        handles: list[Artist] = [plt.Rectangle((0, 0), 1, 1, color=RULE, label="all weights")]
        handles += [plt.Line2D([], [], color=colour, linewidth=1.8, label=label) for colour, label in styles.values()]
        figure.legend(handles=handles, loc="lower center", ncols=min(len(handles), 5), fontsize=8.5)
    return figure


def first_bucket(absorptions: Sequence[dict]) -> float:
    """Share of the squared change in weights below the grid's first boundary, which round to zero before and after."""
    inside = whole = 0.0
    for histogram in (found["histogram"] for found in absorptions):
        middle = np.array(histogram["edges"][:-1]) + histogram["edges"][1] / 2
        squared = np.array(histogram["squared"])
        inside += squared[middle < histogram["boundaries"][0]].sum()
        whole += squared.sum()
    return inside / whole if whole else float("nan")


def _title(styles: dict[str, tuple[str, str]], quantizer: str, absorptions: Sequence[dict]) -> str:
    colours, shares = list(COLOURS.values()), {}
    for name in sorted(styles, key=lambda name: [*colours, styles[name][0]].index(styles[name][0])):
        own = [found for found in absorptions if found["quantizer"] == quantizer and found["model"] == name]
        shares[styles[name][1]] = 100 * first_bucket(own)
    if len(shares) > 3:
        low, high = min(shares.values()), max(shares.values())
        return f"Share of the change inside {quantizer}'s first bucket: {low:.0f} to {high:.0f} %"
    parts = [f"{share:.0f} % ({label})" for label, share in shares.items()]
    return f"Share of the change inside {quantizer}'s first bucket: {', '.join(parts)}"


def _panel(axes: plt.Axes, styles: dict[str, tuple[str, str]], quantizer: str, absorptions: Sequence[dict]) -> None:
    of_panel = [a for a in absorptions if a["quantizer"] == quantizer and a["model"] in styles]
    edges = np.array(of_panel[0]["histogram"]["edges"])
    width = edges[1] - edges[0]
    weights = np.sum([a["histogram"]["weights"] for a in of_panel], axis=0)
    axes.stairs(weights / weights.sum() / width, edges, fill=True, color=RULE, zorder=1)
    for boundary in of_panel[0]["histogram"]["boundaries"]:
        axes.axvline(boundary, color=INK, linewidth=0.7, alpha=0.5, zorder=2)
    for name, (colour, _) in styles.items():
        squared = np.sum([a["histogram"]["squared"] for a in of_panel if a["model"] == name], axis=0)
        if squared.sum():
            axes.stairs(squared / squared.sum() / width, edges, color=colour, linewidth=1.8, zorder=3)
    axes.set_xlim(0, 1)
    axes.set_xticks((0, 0.2, 0.4, 0.6, 0.8))
    axes.set_title(quantizer, fontsize=9.5)
    axes.set_xlabel("|w| / largest of the group")


def draw(study: Study, files: Sequence[Path]) -> plt.Figure:
    """files: the absorption of every model under every quantizer that rounds weights one by one, as JSON."""
    models = compared(study)
    read = (json.loads(path.read_text(encoding="utf-8")) for path in files)
    return grid_figure(study, [found for found in read if found["model"] in models])
