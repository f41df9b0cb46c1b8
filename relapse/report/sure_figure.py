"""SURE, its controls and its base: what each forgets and keeps in full precision, and what 4 bit brings back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.artist import Artist

from relapse.analysis.study import Study, bits
from relapse.report.rows import quantizer_colour
from relapse.report.style import GREY, INK, QUIET, RC, RULE, heading
from relapse.runtime.errors import RelapseError

FORGET, RETAIN = 0.5, 0.8  # of the target's KnowMem in full precision: the rule for SURE's robustness to count
MARKERS = "oDsv^P*X"


def compared(study: Study) -> list[str]:
    """SURE's models and, for each base method, its unmasked models with the same storage, by learning rate.

    Raises RelapseError for a study without SURE.
    """
    sure = [name for name, entry in study.methods.items() if entry.get("mask")]
    if not sure:
        raise RelapseError("this study has no model of SURE")
    rates = {study.methods[name]["lr"] for name in sure}
    found = []
    for base in sorted({study.methods[name]["method"].removesuffix("_sure") for name in sure}):
        own = [name for name in sure if study.methods[name]["method"] == f"{base}_sure"]
        kinds = {(study.methods[name]["storage"], study.methods[name]["state_storage"]) for name in own}
        plain = [
            name
            for name, entry in study.methods.items()
            if entry.get("method") == base and (entry["storage"], entry["state_storage"]) in kinds
        ]
        if len(plain) > 2:  # of a grid: the scale-matched rate is that of no SURE, the others are
            middle = sorted(study.methods[name]["lr"] for name in plain)[len(plain) // 2]
            plain = [name for name in plain if study.methods[name]["lr"] in rates | {middle}]
        found += sorted(plain, key=lambda name: study.methods[name]["lr"])
        found += sorted(own, key=lambda name: (study.methods[name]["lr"], name))
    return found


def forgets(study: Study, metrics: pd.DataFrame, corpus: str, model: str) -> str:
    """'' where a model forgets and keeps utility in full precision, means over seeds; else what it does not do."""
    full = metrics[(metrics["corpus"] == corpus) & (metrics["quantizer"] == "full")]
    means = full.groupby(["model", "metric"])["value"].mean()
    if means[model, "knowmem_forget"] > FORGET * means["target", "knowmem_forget"]:
        return "does not forget"
    if means[model, "knowmem_retain"] < RETAIN * means["target", "knowmem_retain"]:
        return "loses utility"
    return ""


def _label(study: Study, name: str) -> str:
    entry = study.methods[name]
    base = entry["method"].removesuffix("_sure")
    mask = entry.get("mask", "")
    kind = {"paper": "SURE", "row": "SURE, rows", "released": "SURE, as released", "random": "random mask"}.get(
        mask, base
    )
    scope = ", all modules" if mask and entry.get("modules") == "all" else ""
    return f"{kind if not mask else f'{base}: {kind}'}{scope}\nlr {entry['lr']:g}"


def sure_figure(study: Study, metrics: pd.DataFrame) -> plt.Figure:
    """KnowMem forget of every compared model in full precision (bar) and at 4 bit (marks), KnowMem retain beside it.

    metrics: metrics.csv. Means over seeds, with the least and the largest as whiskers where there are several.
    """
    models, corpus = compared(study), study.corpora[0]
    four = [
        name
        for name, entry in study.quantizers.items()
        if bits(entry) == 4 and all(study.covers(model, name) for model in models)
    ]
    shown = metrics[metrics["corpus"] == corpus]
    stats = shown.groupby(["model", "quantizer", "metric"])["value"].agg(["mean", "min", "max"])
    with plt.rc_context(RC):
        figure, axes = plt.subplots(figsize=(8.2, 0.62 * len(models) + 2.15))
        high = figure.get_size_inches()[1]
        figure.subplots_adjust(left=0.25, right=0.86, bottom=0.85 / high, top=1 - 0.85 / high)
        for place, name in enumerate(reversed(models)):
            failed = forgets(study, metrics, corpus, name)
            colour = RULE if failed else GREY
            value = stats.loc[(name, "full", "knowmem_forget")]
            axes.barh(place, value["mean"], 0.62, color=colour, zorder=1)
            spread = (0.0,) if not four else tuple(0.22 - 0.44 * k / max(1, len(four) - 1) for k in range(len(four)))
            for offset, marker, quantizer in zip(spread, MARKERS, four, strict=False):
                quantized = stats.loc[(name, quantizer, "knowmem_forget")]
                error = [[quantized["mean"] - quantized["min"]], [quantized["max"] - quantized["mean"]]]
                dot = quantizer_colour(study.quantizers[quantizer])
                style: dict[str, Any] = {"fmt": marker, "color": dot, "markersize": 4.5, "elinewidth": 0.8, "zorder": 3}
                axes.errorbar(quantized["mean"], place + offset, xerr=error, alpha=0.45 if failed else 1, **style)
            retain = stats.loc[(name, "full", "knowmem_retain")]["mean"]
            axes.plot(retain, place, "|", color=INK, markersize=13, markeredgewidth=1.6, zorder=2)
            if failed:
                axes.text(
                    1.02, place, failed, transform=axes.get_yaxis_transform(), va="center", color=QUIET, fontsize=8
                )
        level = stats.loc[("target", "full", "knowmem_forget")]["mean"]
        axes.axvline(FORGET * level, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(models)), [_label(study, name) for name in reversed(models)], fontsize=8.5)
        axes.set_xlim(0, 105)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        axes.set_xlabel("KnowMem (target: 100 = knows all); dashed: half of the target's KnowMem forget")
        note = "Pale: does not meet the rule, so that its robustness does not count. Marks: at 4 bit."
        heading(figure, _title(study, metrics, models, four), note)
        handles: list[Artist] = [plt.Rectangle((0, 0), 1, 1, color=GREY, label="forget, full precision")]
        handles.append(
            plt.Line2D([], [], marker="|", linestyle="", color=INK, markersize=10, label="retain, full precision")
        )
        for marker, quantizer in zip(MARKERS, four, strict=False):
            dot = quantizer_colour(study.quantizers[quantizer])
            handles.append(
                plt.Line2D([], [], marker=marker, linestyle="", color=dot, markersize=4.5, label=f"forget, {quantizer}")
            )
        figure.legend(handles=handles, loc="lower center", ncols=4, fontsize=8, handletextpad=0.4)
    return figure


def _title(study: Study, metrics: pd.DataFrame, models: list[str], four: list[str]) -> str:
    """Who of those that forget stays forgotten: the largest KnowMem forget at 4 bit over that in full precision."""
    corpus = study.corpora[0]
    means = metrics[metrics["corpus"] == corpus].groupby(["model", "quantizer", "metric"])["value"].mean()
    good = [name for name in models if not forgets(study, metrics, corpus, name)]
    if not good or not four:
        return "SURE, its controls and its base"

    def rise(name: str) -> float:
        full = means[name, "full", "knowmem_forget"]
        return max(means[name, quantizer, "knowmem_forget"] - full for quantizer in four)

    def words(names: list[str]) -> str:
        low, high = (f"{round(end(map(rise, names))):+d}".replace("-", "−") for end in (min, max))
        return f"{low} points" if low == high else f"{low} to {high} points"

    sure = [name for name in good if study.methods[name].get("mask") not in (None, "random", "released")]
    groups = {"SURE": sure, "others": [name for name in good if name not in sure]}
    parts = [f"{group} {words(names)}" for group, names in groups.items() if names]
    return f"Rise of KnowMem forget at 4 bit: {'; '.join(parts)}"


def draw(study: Study, files: Sequence[Path]) -> plt.Figure:
    """files: metrics.csv."""
    return sure_figure(study, pd.read_csv(files[0]))
