"""How every figure looks, and how it is written so that the same numbers give the same bytes."""

import textwrap
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

INK, QUIET, RULE = "#1a1a1a", "#6b6b6b", "#d9d9d9"
# Okabe and Ito's colours, which colour-blind readers can tell apart; they differ in lightness too.
GREY, BLUE, ORANGE, VERMILION, GREEN, PURPLE = "#8c8c8c", "#56b4e9", "#e69f00", "#d55e00", "#009e73", "#cc79a7"
NAVY = "#0072b2"

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


def heading(figure: plt.Figure, title: str, note: str) -> None:
    """Title and a quieter note below it at the figure's upper left, wrapped to its width."""
    wide, high = figure.get_size_inches()
    top = 0.2
    parts: tuple[tuple[str, float, float, dict[str, Any]], ...]
    parts = ((title, 12, 0.21, {"fontweight": "bold"}), (note, 8.5, 0.16, {"color": QUIET}))
    for text, size, step, style in parts:
        for line in textwrap.wrap(
            text, int((wide - 0.3) / (size * 0.0083 if style.get("fontweight") else size * 0.0074))
        ):
            figure.text(0.12 / wide, 1 - top / high, line, fontsize=size, va="center", **style)
            top += step
        top += 0.03


def write(figure: plt.Figure, pdf: Path, png: Path) -> None:
    """Save a figure as pdf and png, without dates or versions in either."""
    for path, metadata in ((pdf, {"CreationDate": None, "Producer": None, "Creator": None}), (png, {"Software": None})):
        path.parent.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context(RC):
            figure.savefig(path, metadata=metadata)
    plt.close(figure)
