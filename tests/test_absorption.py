"""What survives a grid, against sums worked out by hand."""

import pytest
import torch
from entries import method_settings, quantizer_settings

from relapse.analysis.absorption import absorption, from_checkpoints, on_grid
from relapse.quantization import BACKENDS, Calibrated

RTN = BACKENDS.get("rtn")
INT2 = quantizer_settings("rtn", bits=3, group_size="row", scale=2)  # a row's largest weight is two steps
METHOD = method_settings("ga")

# The first row's step is 0.5, with codes (2, 0, 1, 0); the second's as well.
TARGET = torch.tensor([[1.0, 0.1, 0.5, 0.0], [-1.0, 0.2, 0.2, 0.0]])
# 0.1 -> 0.2 stays in its bucket, 0.5 -> 0.9 goes to 1.0; 0.2 -> 0.3 goes to 0.5, and 0.2 stays.
UNLEARNED = torch.tensor([[1.0, 0.2, 0.9, 0.0], [-1.0, 0.3, 0.2, 0.0]])


def found(target, unlearned, backend=RTN, quantizer=INT2, method=METHOD, layers=("linear.weight",)):
    return absorption(target, unlearned, list(layers), on_grid(backend, quantizer), method)


def test_surviving_share_and_counts_by_hand():
    result = found(
        {"linear.weight": TARGET, "embed.weight": torch.zeros(2)},
        {"linear.weight": UNLEARNED, "embed.weight": torch.tensor([0.3, 0.4])},
    )
    squared = 0.1**2 + 0.4**2 + 0.1**2  # 0.18
    # <Q(u) - Q(t), u - t>: 0 for the first change, 0.5 * 0.4 and 0.5 * 0.1 for the others.
    assert result["surviving"] == pytest.approx((0.5 * 0.4 + 0.5 * 0.1) / squared)
    assert result["changed"] == pytest.approx(3 / 8)
    assert result["unchanged_value"] == result["unchanged_code"] == pytest.approx(1 / 3)
    assert result["outside"] == pytest.approx(0.25 / (0.25 + squared))
    assert result["half_step"] == pytest.approx(0.25)
    # Changes over the step of 0.5: 0.2, 0.8, 0.2.
    assert result["change_over_local_step"]["p50"] == pytest.approx(0.2, abs=1e-6)
    assert result["change_over_local_step"]["p99"] == pytest.approx(0.8, abs=1e-6)
    assert result["layers"]["linear.weight"]["surviving"] == pytest.approx(result["surviving"])


def test_the_share_of_the_change_beyond_the_edge_by_hand():
    """At lr 1e-3 the edge is 0.5: 256 lr lies between 2^-2 and 2^-1. Only 0.5 -> 0.9 begins there, 0.16 of 0.18."""
    result = found({"linear.weight": TARGET}, {"linear.weight": UNLEARNED})
    assert (METHOD.lr, METHOD.storage, result["edge"]) == (1e-3, "bfloat16", 0.5)
    assert result["beyond_edge"] == pytest.approx(0.16 / 0.18)
    halved = found({"linear.weight": TARGET}, {"linear.weight": UNLEARNED}, method=method_settings("ga", lr=2e-4))
    assert halved["edge"] == 0.0625 and halved["beyond_edge"] == pytest.approx(1)  # all changed weights lie beyond
    for keys in ({"storage": "float32"}, {"storage": "bfloat16_stochastic"}, {"parameters": "lora"}):
        other = found({"linear.weight": TARGET}, {"linear.weight": UNLEARNED}, method=method_settings("ga", **keys))
        assert other["edge"] is other["beyond_edge"] is None, keys


def test_histogram_places_weights_by_their_groups_largest():
    histogram = found({"linear.weight": TARGET}, {"linear.weight": UNLEARNED})["histogram"]
    assert sum(histogram["weights"]) == 8 and sum(histogram["changed"]) == 3
    # Levels are -4 to 3 steps; the largest is 4 steps, so that a row's largest weight lies at 2 / 4.
    assert histogram["weights"][25] == 2
    assert histogram["boundaries"] == pytest.approx([0.5 / 4, 1.5 / 4, 2.5 / 4])
    assert sum(histogram["squared"]) == pytest.approx(0.18)
    assert sum(histogram["survived"]) == pytest.approx(0.25)


def test_a_scale_that_moves_changes_values_but_not_codes():
    result = found({"linear.weight": TARGET}, {"linear.weight": TARGET * 1.25})
    # Of six changed weights three have the code 0, whose value no scale moves.
    assert result["unchanged_value"] == 0.5
    assert result["unchanged_code"] == 1
    assert result["surviving"] > 0.5


def test_full_precision_keeps_everything():
    result = found(
        {"linear.weight": TARGET}, {"linear.weight": UNLEARNED}, BACKENDS.get("full"), quantizer_settings("full")
    )
    assert result["surviving"] == pytest.approx(1)
    assert result["histogram"] is None


def test_a_model_that_did_not_move_has_no_share():
    result = found({"linear.weight": TARGET}, {"linear.weight": TARGET.clone()})
    assert result["surviving"] is None and result["unchanged_value"] is None and result["changed"] == 0
    assert result["outside"] is None and result["change_over_local_step"] is None


def test_a_calibrated_quantizer_is_measured_on_what_its_checkpoints_compute_with():
    """Q(u) - Q(t) = (0, 0.5, 0.25) against an update of (0.5, 0.5, 0): (0.25) / 0.5; there are no codes to compare."""

    class Fake(Calibrated):
        def quantize(self, *arguments):
            raise AssertionError

        def dequantized(self, checkpoint):
            raise AssertionError

        def effective(self, checkpoint):
            return {
                "linear.weight": {"t": torch.tensor([[1.0, 1, 1]]), "u": torch.tensor([[1, 1.5, 1.25]])}[checkpoint]
            }

    target, unlearned = torch.tensor([[1.0, 1, 1]]), torch.tensor([[1.5, 1.5, 1]])
    result = absorption(
        {"linear.weight": target},
        {"linear.weight": unlearned},
        ["linear.weight"],
        from_checkpoints(Fake(), "t", "u"),
        METHOD,
    )
    assert result["surviving"] == pytest.approx(0.25 / 0.5)
    assert result["changed"] == pytest.approx(2 / 3) and result["unchanged_value"] == pytest.approx(1 / 2)
    for key in ("unchanged_code", "half_step", "change_over_local_step", "histogram"):
        assert result[key] is None, key
