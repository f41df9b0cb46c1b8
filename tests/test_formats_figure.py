"""The figure of formats: their order, the edges, and what its title counts, from tables written by hand."""

import pandas as pd
import pytest

from relapse.analysis.study import read_study
from relapse.report.formats_figure import formats_figure, read

ENTRY = {"method": "npo_klr", "base": "npo_klr", "constrained": True, "state_storage": "float32"}
STUDY = read_study(
    {
        "corpora": {"bios": {}},
        "seeds": [0],
        "methods": {
            "slow": ENTRY | {"lr": 5e-5, "storage": "bfloat16"},
            "fast": ENTRY | {"lr": 1e-4, "storage": "bfloat16"},
            "twin": ENTRY | {"lr": 5e-5, "storage": "float32", "base": "npo_klr_float32"},
        },
        "quantizers": {
            "full": {"backend": "full"},
            "wide": {"backend": "prune", "share": 0.3},
            "narrow": {"backend": "gguf", "format": "q4_k"},
        },
    }
)
CELLS = {"wide": 0.25, "narrow": 0.05, "full": 0.0}
EDGES = {"slow": 0.016, "fast": 0.032, "twin": None}


@pytest.fixture
def tables(tmp_path):
    """Only slow comes back, under wide: its edge is 0.16 standard deviations, below 0.25; fast's is 0.32."""
    recovery, absorption = [], []
    for model, edge in EDGES.items():
        for quantizer, cell in CELLS.items():
            back = (model, quantizer) == ("slow", "wide")
            keys = {"corpus": "bios", "model": model, "quantizer": quantizer}
            share = 0.9 if back else 0.0
            recovery.append(
                keys
                | {"metric": "knowledge", "recovered": share, "ci_low": share - 0.1, "ci_high": share + 0.1}
                | {"verdict": "recovered" if back else "not detected"}
            )
            absorption.append(
                keys
                | {"seed": 0, "surviving": 1 - share, "predicted": 1 - share, "unchanged_code": None, "outside": 0.1}
                | {"half_step": None, "edge": edge, "zero_cell": cell, "deviation": 0.1, "stopped_by": "rule"}
            )
    for name, rows in (("recovery", recovery), ("absorption", absorption)):
        pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path / "recovery.csv", tmp_path / "absorption.csv"


def test_formats_stand_in_the_order_of_zeros_cell_with_a_line_for_each_edge(tables):
    figure = formats_figure(STUDY, read(STUDY, *tables))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["narrow  0.05", "wide  0.25"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0.16", "0.32", "float32: all move"]
    heights = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert heights["0.16"] == [0, 90] and heights["0.32"] == [0, 0]


def test_the_title_has_the_medians_on_either_side_of_the_edge(tables):
    """Wider: slow under wide, alone. Narrower: the five others."""
    figure = formats_figure(STUDY, read(STUDY, *tables))
    title = " ".join(text.get_text() for text in figure.texts)
    assert "where it is wider, 90 % comes back (1); where it is narrower, 0 % comes back (5)" in " ".join(title.split())
