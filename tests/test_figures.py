"""Figures show the numbers that they were given, and the same numbers give the same bytes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from relapse.analysis import timings
from relapse.analysis.retained import Retained, write_csv
from relapse.analysis.study import read_study
from relapse.report import retained_knowledge_figure as figures
from relapse.report import time_figure
from relapse.runtime.errors import RelapseError

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "study": "toy",
    "corpora": ["bios"],
    "seeds": [0],
    "methods": {"npo_klr": {"constrained": True}, "ga": {"constrained": False}},
    "quantizers": {
        "full": {"backend": "full"},
        "rtn-int8": {"backend": "rtn", "bits": 8},
        "rtn-int4": {"backend": "rtn", "bits": 4},
        "bnb-nf4": {"backend": "bitsandbytes", "format": "nf4"},
    },
}
VALUES = {"full": 30.0, "rtn-int8": 31.0, "rtn-int4": 88.0, "bnb-nf4": 29.0}


def rows(scale=1.0, corpora=("bios",), average=True):
    models = [(corpus, model) for corpus in corpora for model in ("retrain", "ga", "npo_klr")]
    models += [("all", "average")] if average else []
    return [
        Retained(corpus, model, quantizer, scale * value, scale * value - 4, scale * value + 5)
        for corpus, model in models
        for quantizer, value in VALUES.items()
    ]


def bars(axes) -> list[float]:
    return [round(patch.get_height(), 6) for patch in axes.patches]


def test_bars_are_full_and_rtn_and_their_heights_the_values():
    figure = figures.retained_figure(read_study(SETTINGS), rows())
    methods, average = figure.axes
    assert bars(methods) == [30, 31, 88] * 2
    assert bars(average) == [30, 31, 88]
    labels = [label.get_text() for label in methods.get_xticklabels()]
    assert labels == ["ga\nno retain term", "npo_klr"]
    assert [text.get_text() for text in average.texts] == ["30", "31", "88", "target"]


def test_marks_stand_apart_from_the_bars():
    looks, width = figures.looks(read_study(SETTINGS))
    assert [look.marker for look in looks.values()] == [None, None, None, "o"]
    offsets = [look.offset for look in looks.values()]
    assert offsets == sorted(offsets)
    assert offsets[-1] - offsets[-2] > figures.BAR / 2
    assert width > offsets[-1]


def test_title_says_what_came_out_also_when_nothing_comes_back():
    study = read_study(SETTINGS)
    average = {row.quantizer: row for row in rows() if row.model == "average"}
    assert figures.title(study, average).endswith("leaves 30 % of the knowledge, and 88 % once rounded to 4 bit")
    null = {name: Retained("all", "average", name, 30.2, 28, 33) for name in VALUES}
    assert figures.title(study, null).endswith("leaves 30 % of the knowledge, and 30 % once rounded to 4 bit")
    assert figures.title(study, {}) == "Knowledge that is left after unlearning"


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({}, rows(scale=2.5)),
        ({"corpora": ["news", "bios"]}, rows(corpora=("bios", "news"))),
        ({"methods": {"ga": {"constrained": False}}}, rows(average=False)),
        ({"quantizers": {"full": {"backend": "full"}}}, rows()),
        ({"quantizers": SETTINGS["quantizers"] | {"bnb-nf4": {"backend": "gptq", "bits": 3}}}, rows()),
    ],
    ids=["above-100", "two-corpora", "unconstrained-only", "full-only", "another-backend"],
)
def test_every_shape_of_study_fits_the_axes(changes, data):
    study = read_study(SETTINGS | changes)
    figure = figures.retained_figure(study, data)
    assert len([axes for axes in figure.axes if axes.get_ylabel()]) == len(study.corpora)
    shown = max(row.ci_high for row in data if row.quantizer in study.quantizers)
    assert all(axes.get_ylim()[1] > shown for axes in figure.axes)
    figure.canvas.draw()


def run(script: str, arguments: list[str]) -> None:
    code = f"import runpy, sys; sys.argv = [{script!r}, *{arguments!r}]; "
    code += f"runpy.run_module('scripts.{script}', run_name='__main__'); assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_same_numbers_give_the_same_bytes(tmp_path):
    write_csv(rows(), tmp_path / "retained.csv")
    jobs = write_benchmarks(tmp_path / "benchmarks")
    written = []
    for name in ("first", "second"):
        out = tmp_path / name
        settings = [
            "--settings",
            json.dumps(SETTINGS),
            "--figure",
            "retained_knowledge",
            str(tmp_path / "retained.csv"),
        ]
        run("figure", [*settings, "--pdf", str(out / "a.pdf"), "--png", str(out / "a.png")])
        files = ["--out", str(out / "t.csv"), "--pdf", str(out / "t.pdf"), "--png", str(out / "t.png")]
        run("timings", ["--benchmarks-dir", str(tmp_path / "benchmarks"), *files, *map(str, jobs)])
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert len(written[0]) == 5
    assert written[0] == written[1]
    assert b"CreationDate" not in written[0]["a.pdf"]


def write_benchmarks(folder: Path) -> list[Path]:
    """Two jobs of evaluate and one of train that count, and one of a removed method that does not."""
    jobs = []
    for name, seconds, rss, parts in (
        ("evaluate/bios/full", 12.0, "900.5", {"imports": 4.0, "score": 5.0}),
        ("evaluate/bios/rtn", 8.0, "700", {"imports": 4.0, "score": 1.0}),
        ("train/bios", 0.5, "-", {"imports": 0.25}),
        ("unlearn/removed", 99.0, "1", {"imports": 1.0}),
    ):
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tsv").write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t{rss}\n")
        path.write_text(json.dumps({"timings": parts}))
        jobs.append(path)
    return jobs[:3]


def test_timings_by_hand(tmp_path):
    rules = timings.read_timings(tmp_path, write_benchmarks(tmp_path))
    assert [(rule.rule, rule.jobs, rule.seconds, rule.longest) for rule in rules] == [
        ("evaluate", 2, 20.0, 12.0),
        ("train", 1, 0.5, 0.5),
    ]
    assert rules[0].parts == {"imports": 8.0, "score": 6.0}
    assert (rules[0].rest, rules[1].rest) == (6.0, 0.25)
    assert (rules[0].max_rss_mb, rules[1].max_rss_mb) == (900.5, 0.0)
    timings.write_csv(rules, tmp_path / "timings.csv")
    assert (tmp_path / "timings.csv").read_text().splitlines() == [
        "rule,jobs,seconds,longest,max_rss_mb,imports,score,rest",
        "evaluate,2,20.0,12.0,900.5,8.0,6.0,6.0",
        "train,1,0.5,0.5,0.0,0.2,0.0,0.2",
    ]
    assert time_figure.title(rules) == "20 s of work: 98 % in evaluate, 40 % in imports"
    widths = [patch.get_width() for patch in time_figure.time_figure(rules).axes[0].patches]
    assert widths == [8.0, 6.0, 6.0, 0.25, 0.0, 0.25]


def test_a_job_without_its_benchmark_is_an_error(tmp_path):
    jobs = write_benchmarks(tmp_path)
    jobs[1].with_suffix(".tsv").unlink()
    with pytest.raises(RelapseError, match=r"rtn.json or the benchmark beside it"):
        timings.read_timings(tmp_path, jobs)


def test_durations():
    assert [time_figure.duration(seconds) for seconds in (3.2, 200, 9000)] == ["3 s", "3 min", "2.5 h"]
