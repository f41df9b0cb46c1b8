"""Figure: hidden or gone? Methods as rows, quantizers and attacks as columns: share as colour, verdict as mark.

It is drawn from recovery.csv and the study's entries. analysis/recovery.py computes shares and verdicts.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.colors import LinearSegmentedColormap

from relapse.analysis.recovery import MARGIN, Recovery, read_csv
from relapse.analysis.study import Study
from relapse.report.style import INK, QUIET, RC, RULE, VERMILION, heading

MARKS = {"recovered": "●", "not detected": "○", "cannot tell": "?", "nothing forgotten": "–"}
COLOURS = LinearSegmentedColormap.from_list("recovered", ["#ffffff", VERMILION])


def hidden_figure(study: Study, rows: Sequence[Recovery]) -> plt.Figure:
    """A cell for every model and every quantizer or attack; one panel a corpus. rows: recovery.csv."""
    cells = {(row.corpus, row.model, row.quantizer): row for row in rows if row.metric == "knowledge"}
    models, columns = list(study.methods), study.changes
    with plt.rc_context(RC):
        wide, high = 1.9 + 0.72 * len(columns), 0.3 * len(models) + 2.3
        figure, grid = plt.subplots(
            1, len(study.corpora), figsize=(wide * len(study.corpora), high), sharey=True, squeeze=False
        )
        figure.subplots_adjust(
            left=1.75 / wide / len(study.corpora), right=1 - 0.3 / wide, bottom=0.15 / high, top=1 - 1.75 / high
        )
        for axes, corpus in zip(grid[0], study.corpora, strict=True):
            _panel(axes, [[cells.get((corpus, model, name)) for name in columns] for model in models])
            axes.set_xticks(range(len(columns)), columns, rotation=35, ha="left", fontsize=8)
            axes.axvline(len(study.quantizers) - 1.5, color=QUIET, linewidth=0.8)  # quantizers, full left out; attacks
            if len(study.corpora) > 1:
                axes.set_xlabel(corpus)
        grid[0][0].set_yticks(range(len(models)), models, fontsize=8)
        heading(figure, _title(study, models, cells), _note(study))
    return figure


def _panel(axes: plt.Axes, table: list[list[Recovery | None]]) -> None:
    axes.grid(visible=False)
    axes.xaxis.tick_top()
    axes.set_xlim(-0.5, len(table[0]) - 0.5)
    axes.set_ylim(len(table) - 0.5, -0.5)
    for y, line in enumerate(table):
        for x, row in enumerate(line):
            if row is None:
                continue
            found = None if row.verdict == "nothing forgotten" else row.recovered
            share = 0.0 if found is None else min(max(found, 0.0), 1.0)
            axes.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=COLOURS(share), edgecolor=RULE, lw=0.5))
            text = MARKS[row.verdict] if found is None else f"{100 * found:.0f} {MARKS[row.verdict]}"
            axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color="white" if share > 0.75 else INK)


def _title(study: Study, models: Sequence[str], cells: dict) -> str:
    """In how many of the cells that forgot something knowledge came back, by quantizers and by attacks."""

    def counted(columns: Sequence[str]) -> str:
        found = [cells.get((corpus, model, name)) for corpus in study.corpora for model in models for name in columns]
        verdicts = [row.verdict for row in found if row and row.verdict != "nothing forgotten"]
        return f"{verdicts.count('recovered')} of {len(verdicts)}"

    quantizers = [name for name in study.changes if name not in study.attacks]
    attacks = counted(list(study.attacks))
    return f"Knowledge comes back in {counted(quantizers)} cells of quantizers and {attacks} of attacks"


def _note(study: Study) -> str:
    over = f"{len(study.seeds)} seeds" if len(study.seeds) > 1 else "people or examples"
    meaning = {
        "recovered": "recovered",
        "not detected": f"not detected (the whole interval below {100 * MARGIN:.0f} %)",
        "cannot tell": "cannot tell",
        "nothing forgotten": "nothing forgotten",
    }
    return (
        f"Recovered share of VerMem and KnowMem together, %; verdicts over {over}. "
        f"{', '.join(f'{MARKS[verdict]} {words}' for verdict, words in meaning.items())}. "
        "Left of the line quantizers, right of it attacks."
    )


def draw(study: Study, files: Sequence[Path]) -> plt.Figure:
    """files: recovery.csv."""
    return hidden_figure(study, read_csv(files[0]))
