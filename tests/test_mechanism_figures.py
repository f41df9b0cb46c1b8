"""The figures on why knowledge comes back, drawn from tables made up here."""

import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from relapse.analysis.study import read_study
from relapse.report.grid_figure import first_bucket, grid_figure, middle_rate
from relapse.report.lr_figure import lr_figure
from relapse.report.rows import STORAGE_LABELS, STORAGE_MARKERS, read_cells
from relapse.report.style import write
from relapse.report.sure_figure import compared, forgets, sure_figure
from relapse.report.survival_figure import survival_figure
from relapse.runtime.errors import RelapseError
from relapse.unlearning.storage import STORAGE

ROOT = Path(__file__).resolve().parent.parent
QUANTIZERS = {
    "full": {"backend": "full"},
    "rtn-int8": {"backend": "rtn", "bits": 8, "group_size": "row"},
    "rtn-int4-g32": {"backend": "rtn", "bits": 4, "group_size": 32},
    "rtn-int4-g128": {"backend": "rtn", "bits": 4, "group_size": 128},
    "rtn-int3": {"backend": "rtn", "bits": 3, "group_size": 128},
    "bnb-fp4": {"backend": "bitsandbytes", "format": "fp4"},
    "bnb-nf4": {"backend": "bitsandbytes", "format": "nf4"},
}
RATES = (5e-6, 1.6e-5, 5e-5, 1.6e-4, 5e-4)
ENTRY = {"method": "npo_klr", "base": "npo_klr", "constrained": True, "state_storage": "float32"}
METHODS = {
    f"npo_klr-lr{lr:g}-{storage}": ENTRY | {"lr": lr, "storage": storage}
    for lr in RATES
    for storage in ("float32", "bfloat16", "bfloat16_stochastic")
} | {
    f"sure-{mask}": ENTRY | {"method": "npo_klr_sure", "base": "sure", "lr": 5e-4, "storage": "bfloat16", "mask": mask}
    for mask in ("paper", "row", "released", "random")
}
SETTINGS = {"study": "toy", "corpora": {"bios": {}}, "seeds": [0, 1], "methods": METHODS, "quantizers": QUANTIZERS}
HALF_STEPS = {"rtn-int8": 0.0011, "rtn-int4-g32": 0.0155, "rtn-int4-g128": 0.0188, "rtn-int3": 0.04}


def comes_back(name: str, quantizer: str) -> bool:
    """Whether the made-up world absorbs this update: bfloat16, a small rate and a coarse grid."""
    entry = METHODS[name]
    coarse = quantizer in ("rtn-int4-g32", "rtn-int4-g128", "rtn-int3", "bnb-fp4")
    return coarse and entry["storage"] == "bfloat16" and entry["lr"] < 1e-4


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    """recovery.csv, absorption.csv, metrics.csv and absorption's JSON files of the made-up study."""
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    recovery, absorption, metrics, files = [], [], [], []
    edges = np.linspace(0, 1, 51)
    for name, entry in METHODS.items():
        weak = entry["lr"] < 1e-5 and entry["storage"] == "bfloat16"
        for quantizer in QUANTIZERS:
            back = comes_back(name, quantizer)
            for seed in (0, 1):
                for metric, value in (("knowmem_forget", 90 if back else 45), ("knowmem_retain", 85)):
                    value = 60 if name == "sure-random" and metric == "knowmem_retain" else value
                    metrics.append(("bios", name, seed, quantizer, metric, value + rng.normal(0, 2), 0, 0, 96))
            if quantizer == "full":
                continue
            share = (0.8 if back else 0.0) + rng.normal(0, 0.03)
            row = ("bios", name, quantizer, "knowledge", 100, 45, 45 + 55 * share, 55 * share, 0, 0)
            verdict = "nothing forgotten" if weak else "recovered" if back else "not detected"
            recovery.append((*row, share, share - 0.06, share + 0.06, 0.01, verdict, "no", 1))
            for seed in (0, 1):
                surviving = (0.1 if back else 1.0) + rng.normal(0, 0.05)
                common = (surviving, surviving, 0.0, 1.0, 0.1, 0.3, 0.7, 0.7, 0.0156, HALF_STEPS.get(quantizer, 0.01))
                ended = "steps" if weak else "knowmem_forget"
                absorption.append(("bios", name, seed, quantizer, *common, 0, 0, 0, 0, 100, ended))
                width = 0.05 if entry["storage"] == "bfloat16" else 0.35
                weights = np.exp(-((edges[:-1] / 0.35) ** 2)) * 1000
                squared = np.exp(-((edges[:-1] / width) ** 2))
                histogram = {"edges": edges.tolist(), "weights": weights.tolist(), "squared": squared.tolist()}
                histogram |= {"changed": squared.tolist(), "survived": squared.tolist(), "boundaries": [0.07, 0.2, 0.5]}
                found = {"corpus": "bios", "model": name, "seed": seed, "quantizer": quantizer, "histogram": histogram}
                files.append(folder / f"{name}-{quantizer}-{seed}.json")
                files[-1].write_text(json.dumps(found))
    for seed in (0, 1):
        metrics += [("bios", "target", seed, "full", f"knowmem_{part}", 100, 0, 0, 96) for part in ("forget", "retain")]
    columns = (
        "corpus,model,quantizer,metric,target,full,quantized,difference,diff_low,diff_high,recovered,ci_low,ci_high"
    )
    pd.DataFrame(recovery, columns=[*columns.split(","), "p", "verdict", "equivalent", "p_equivalent"]).to_csv(
        folder / "recovery.csv", index=False
    )
    columns = "corpus,model,seed,quantizer,surviving,predicted,predicted_low,predicted_high,outside,changed"
    columns += ",unchanged_value,unchanged_code,edge,half_step,p10,p50,p90,p99,steps,stopped_by"
    pd.DataFrame(absorption, columns=columns.split(",")).to_csv(folder / "absorption.csv", index=False)
    columns = "corpus,model,seed,quantizer,metric,value,ci_low,ci_high,n".split(",")
    pd.DataFrame(metrics, columns=columns).to_csv(folder / "metrics.csv", index=False)
    return {name: folder / f"{name}.csv" for name in ("recovery", "absorption", "metrics")} | {"files": files}


@pytest.fixture
def study():
    return read_study(SETTINGS)


@pytest.fixture
def cells(study, tables):
    return read_cells(study, tables["recovery"], tables["absorption"])


def words(figure: plt.Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(plt.Text))


def test_cells_have_a_row_for_each_model_and_quantizer(study, cells):
    assert len(cells) == len(METHODS) * (len(QUANTIZERS) - 1)
    row = cells[(cells["model"] == "npo_klr-lr5e-06-bfloat16") & (cells["quantizer"] == "rtn-int3")].iloc[0]
    assert row["limit"] and row["storage"] == "bfloat16" and row["lr"] == 5e-6


def test_survival_shows_every_cell_that_forgot_and_says_what_it_finds(study, cells):
    figure = survival_figure(study, cells)
    axes = figure.axes[0]
    markers = ("s", "o", "^")
    points = sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() in markers)
    assert points == (len(METHODS) - 1) * 6  # without the one model that forgot too little
    assert "survives where knowledge comes back" in words(figure)
    assert "6 cells that forgot too little" in words(figure)
    nothing = cells.assign(verdict="not detected")
    assert "Knowledge comes back in no cell" in words(survival_figure(study, nothing))


def test_survival_says_so_where_nothing_was_forgotten(study, cells):
    figure = survival_figure(study, cells.assign(verdict="nothing forgotten"))
    assert "Nothing was forgotten, so that nothing can come back" in words(figure)


def test_lr_has_a_panel_for_each_storage_and_the_edge_in_bfloat16_alone(study, cells):
    figure = lr_figure(study, cells)
    assert [axes.get_title() for axes in figure.axes] == ["float32", "bfloat16", "bfloat16, rounded stochastically"]
    edges = [
        {line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1 and line.get_linestyle() == "--"}
        for axes in figure.axes
    ]
    # Half steps of 0.0155, 0.0188 and 0.04 are passed where 256 lr reaches 2^-7, 2^-6 and 2^-5; int8's lies left.
    assert edges == [set(), {2**-15, 2**-14, 2**-13}, set()]
    assert "int4 brings knowledge back up to lr 5e-05, and only with: bfloat16" in words(figure)


def test_lr_needs_a_grid(study, cells):
    with pytest.raises(RelapseError, match="no method of this study has a grid of learning rates"):
        lr_figure(study, cells[cells["lr"] == 5e-5])


def test_grid_compares_storages_at_the_middle_rate(study, tables):
    assert sorted(middle_rate(study)) == sorted(name for name in METHODS if "lr5e-05" in name)
    figure = grid_figure(study, [json.loads(path.read_text()) for path in tables["files"]])
    assert [axes.get_title() for axes in figure.axes] == ["rtn-int4-g128", "bnb-fp4", "bnb-nf4"]
    assert all(len(axes.lines) == 3 for axes in figure.axes)  # the three boundaries


def test_first_bucket_by_hand():
    histogram = {"edges": [0, 0.5, 1.0], "squared": [3.0, 1.0], "boundaries": [0.5]}
    assert first_bucket([{"histogram": histogram}]) == 0.75


def test_sure_greys_what_does_not_meet_the_rule(study, tables):
    metrics = pd.read_csv(tables["metrics"])
    assert forgets(study, metrics, "bios", "sure-paper") == ""
    assert forgets(study, metrics, "bios", "sure-random") == "loses utility"
    assert compared(study)[:2] == ["npo_klr-lr5e-05-bfloat16", "npo_klr-lr0.0005-bfloat16"]
    figure = sure_figure(study, metrics)
    assert "loses utility" in words(figure)
    assert "npo_klr: SURE\nlr 0.0005" in words(figure)


def test_sure_says_what_it_can_where_one_side_does_not_meet_the_rule(study, tables):
    metrics = pd.read_csv(tables["metrics"])
    plain = ~metrics["model"].str.startswith("sure") & (metrics["metric"] == "knowmem_retain")
    lost = metrics.assign(value=metrics["value"].where(~plain | (metrics["model"] == "target"), 10.0))
    title = words(sure_figure(study, lost))
    assert "Rise of KnowMem forget at 4 bit: SURE" in title and "others" in title  # SURE as released is one of them
    nobody = metrics.assign(value=metrics["value"].where(metrics["model"] == "target", 90.0))
    assert "SURE, its controls and its base" in words(sure_figure(study, nobody))


def test_sure_needs_sure(tables):
    plain = {name: entry for name, entry in METHODS.items() if "mask" not in entry}
    with pytest.raises(RelapseError, match="no model of SURE"):
        sure_figure(read_study(SETTINGS | {"methods": plain}), pd.read_csv(tables["metrics"]))


@pytest.mark.parametrize(
    ("figure", "reads"),
    [("survival", ["recovery", "absorption"]), ("lr", ["recovery", "absorption"]), ("sure", ["metrics"]), ("grid", [])],
)
def test_the_script_draws_without_torch_and_cuts_nothing_off(tables, tmp_path, figure, reads):
    given = ["--settings", json.dumps(SETTINGS), "--figure", figure]
    given += ["--pdf", str(tmp_path / "f.pdf"), "--png", str(tmp_path / "f.png")]
    given += [str(tables[name]) for name in reads] or list(map(str, tables["files"]))
    code = f"import runpy, sys; sys.argv = ['figure', *{given!r}]; "
    code += "runpy.run_module('scripts.figure', run_name='__main__'); assert 'torch' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    picture = plt.imread(tmp_path / "f.png")[:, :, :3]
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (border == 1).all()  # white all around
    assert (picture < 0.9).any()


def test_same_tables_same_bytes(study, cells, tmp_path):
    for name in ("a", "b"):
        write(survival_figure(study, cells), tmp_path / f"{name}.pdf", tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_every_storage_has_a_label_and_a_marker():
    assert set(STORAGE) < set(STORAGE_LABELS) == set(STORAGE_MARKERS)
    assert len(set(STORAGE_MARKERS.values())) == len(STORAGE_MARKERS)
