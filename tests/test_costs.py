"""costs.csv by hand, and what its figure shows."""

import json

import pandas as pd
import pytest
from test_recovery import QUANTIZERS, N
from test_retained import settings, write_records

from relapse.analysis.costs import read_costs, write_csv
from relapse.analysis.recovery import recoveries
from relapse.analysis.recovery import write_csv as write_recovery
from relapse.analysis.retained import Reader
from relapse.analysis.study import read_study
from relapse.report.costs_figure import costs_figure
from relapse.runtime.errors import RelapseError

RUNS = {"bios/ga/seed0": (40, 10.0, 500.0), "bios/npo/seed0": (50, 25.0, 700.04)}


@pytest.fixture
def folder(tmp_path):
    for run, (steps, seconds, peak) in RUNS.items():
        watch, training = tmp_path / "benchmarks" / f"{run}.json", tmp_path / "models" / run / "training.json"
        for file in (watch, training):
            file.parent.mkdir(parents=True)
        watch.write_text(
            json.dumps({"timings": {"training": 99.0}, "processor": {"training": seconds}, "max_rss_mb": peak})
        )
        training.write_text(json.dumps({"steps": steps}))
    return tmp_path


def test_costs_by_hand(folder):
    costs = read_costs(folder / "benchmarks", folder / "models", list(RUNS))
    write_csv(costs, folder / "costs.csv")
    assert (folder / "costs.csv").read_text().splitlines() == [
        "corpus,model,seed,steps,seconds,seconds_per_step,max_rss_mb",
        "bios,ga,0,40,10.0,0.25,500.0",
        "bios,npo,0,50,25.0,0.5,700.0",
    ]


def test_a_run_without_its_stop_watch_is_named(folder):
    (folder / "benchmarks/bios/npo/seed0.json").unlink()
    with pytest.raises(RelapseError, match=r"bios/npo/seed0.json or .*training.json cannot be read"):
        read_costs(folder / "benchmarks", folder / "models", list(RUNS))


def test_the_figure_shows_the_worst_quantizer_and_the_cheapest_run_below(folder):
    """npo forgot 80 points; int4 brings back 40 of them, the attack 60. ga forgot nothing."""
    for model, values in {"target": (100, 100, 100), "npo": (20, 60, 80), "ga": (100, 100, 100)}.items():
        for name, value in zip(("full", "rtn-int4", "again"), values, strict=True):
            write_records(folder, "bios", model, 0, name, [float(value)] * N, [float(value)] * N)
    methods = {name: {"constrained": False} for name in ("ga", "npo")}
    attacks = {"again": {"attack": "relearn", "steps": 3}}
    study = read_study(settings(methods=methods, quantizers=QUANTIZERS, models=["target"], attacks=attacks))
    write_recovery(recoveries(Reader(folder, study)), folder / "recovery.csv")
    write_csv(read_costs(folder / "benchmarks", folder / "models", list(RUNS)), folder / "costs.csv")
    figure = costs_figure(study, pd.read_csv(folder / "recovery.csv"), pd.read_csv(folder / "costs.csv"))
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["npo  2.0 x", "ga  1.0 x"]
    shown = [line.get_xdata()[0] for line in left.lines + right.lines if line.get_marker() == "o"]
    assert shown == [50.0, 75.0]
    assert [text.get_text() for text in left.texts] == ["rtn-int4", "nothing forgotten"]
    assert [text.get_text() for text in right.texts] == ["again", "nothing forgotten"]
    assert (
        "Knowledge comes back in 1 of 1 models that forgot under some quantizer, in 1 of 1 under an attack"
        in " ".join(text.get_text() for text in figure.texts)
    )
