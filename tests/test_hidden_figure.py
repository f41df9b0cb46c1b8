"""Hidden or gone: what the cells of methods and attacks show."""

from test_recovery import QUANTIZERS, N
from test_retained import settings, write_records

from relapse.analysis.recovery import recoveries
from relapse.analysis.retained import Reader
from relapse.analysis.study import read_study
from relapse.report.hidden_figure import hidden_figure


def test_cells_show_share_and_verdict(tmp_path):
    """npo forgot 80 points and 50 of them return by relearning, none by int4; ga forgot nothing."""
    for model, values in {"target": (100, 100, 100), "npo": (20, 20, 70), "ga": (100, 100, 100)}.items():
        for name, value in zip(("full", "rtn-int4", "again"), values, strict=True):
            write_records(tmp_path, "bios", model, 0, name, [float(value)] * N, [float(value)] * N)
    methods = {name: {"constrained": False} for name in ("ga", "npo")}
    attacks = {"again": {"attack": "relearn", "steps": 3}}
    study = read_study(settings(methods=methods, quantizers=QUANTIZERS, models=["target"], attacks=attacks))
    figure = hidden_figure(study, recoveries(Reader(tmp_path, study)))
    axes = figure.axes[0]
    # (20 - 20) / 80 and (70 - 20) / 80
    assert [text.get_text() for text in axes.texts] == ["–", "–", "0 ○", "62 ●"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["rtn-int4", "again"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ga", "npo"]
    assert "0 of 1 cells of quantizers and 1 of 1 of attacks" in " ".join(text.get_text() for text in figure.texts)
