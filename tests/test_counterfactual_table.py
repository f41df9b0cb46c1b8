"""counterfactual.csv and its figure: which rows there are, differences by hand, and what the title says."""

import pytest
from test_recovery import N, write_records
from test_retained import settings

from relapse.analysis.counterfactual import parts, read_csv, taken_apart, write_csv
from relapse.analysis.retained import Reader
from relapse.analysis.study import read_study
from relapse.report import counterfactual_figure as figure

INT4 = {"backend": "rtn", "bits": 4, "group_size": 64}
QUANTIZERS = {
    "full": {"backend": "full"},
    "int4": INT4 | {"scale": "llmcompressor", "levels": "mid_tread"},  # as a resolved study has it
    "int4-update": {"backend": "counterfactual", "quantizer": INT4, "part": "update"},
    "int4-noise": {"backend": "counterfactual", "quantizer": INT4, "part": "noise"},
    "int8-noise": {"backend": "counterfactual", "quantizer": INT4 | {"bits": 8}, "part": "noise"},
}
SCORES = {"full": (40.0, 44.0), "int4": (80.0, 88.0), "int4-update": (82.0, 86.0), "int4-noise": (39.0, 43.0)}


@pytest.fixture
def study(tmp_path):
    """Two seeds, all examples of a seed alike; the target knows 100 everywhere."""
    for number, seed in enumerate((0, 1)):
        for quantizer in QUANTIZERS:
            write_records(tmp_path, "bios", "target", seed, quantizer, [100.0] * N, [100.0] * N)
            value = SCORES.get(quantizer, (0.0, 0.0))[number]
            write_records(tmp_path, "bios", "npo_klr", seed, quantizer, [value] * N, [value] * N)
    methods = {"npo_klr": {"constrained": True}}
    return read_study(settings(methods=methods, quantizers=QUANTIZERS, seeds=[0, 1]))


def test_a_counterfactual_belongs_to_the_quantizer_of_the_same_entry():
    found = list(taken_apart(QUANTIZERS))
    assert found == [
        ("int4", "quantized", "int4"),
        ("int4-update", "update", "int4"),
        ("int4-noise", "noise", "int4"),
    ]  # and int8's noise to none


def test_differences_by_hand(study, tmp_path):
    rows = {(row.part, row.metric): row for row in parts(Reader(tmp_path, study))}
    assert len(rows) == 3 * 3
    update = rows["update", "knowledge"]
    assert (update.target, update.full, update.quantized, update.score) == pytest.approx((100, 42, 84, 84))
    assert (update.from_full, update.from_quantized) == pytest.approx((42, 0))
    # From the quantized model 2 and -2: mean 0, sd sqrt(8), t(0.975, 1) = 12.706, 12.706 * sqrt(8) / sqrt(2) = 25.41.
    assert (update.from_quantized_low, update.from_quantized_high) == pytest.approx((-25.41, 25.41), abs=0.01)
    assert rows["noise", "knowledge"].from_full == pytest.approx(-1)
    assert rows["quantized", "knowledge"].from_full == pytest.approx(42)


def test_the_table_keeps_its_rows_and_the_figure_says_what_does_it(study, tmp_path):
    rows = list(parts(Reader(tmp_path, study)))
    write_csv(rows, tmp_path / "counterfactual.csv")
    again = read_csv(tmp_path / "counterfactual.csv")
    assert [row.part for row in again] == [row.part for row in rows]
    assert [row.from_full for row in again] == pytest.approx([row.from_full for row in rows])
    assert figure.title(again) == "The lost update brings back 42 points of knowledge; the rounding noise takes 1"
    drawn = figure.draw(study, [tmp_path / "counterfactual.csv"])
    (axes,) = drawn.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["int4"]
    assert len([line for line in axes.lines if line.get_marker() == "o"]) == 3


def test_a_study_in_which_nothing_comes_back_says_so():
    assert figure.title([]) == "No quantizer with counterfactuals brings knowledge back"
