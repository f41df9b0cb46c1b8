"""Round-to-nearest against values worked out by hand."""

import pytest
import torch

from relapse.quantization import BACKENDS
from relapse.quantization.rtn import dequantize, quantize


def test_papers_equation_in_one_row():
    # N = 3: D = max|w| / 2^2 = 2 / 4 = 0.5, codes in [-4, 3].
    # w / D = -4, 4 -> clamped to 3, 0.8 -> 1, -0.4 -> 0, 1.5 -> 2 (even), 2.5 -> 2 (even), -0.5 -> 0,
    # 3.2 -> 3.
    weight = torch.tensor([[-2.0, 2.0, 0.4, -0.2, 0.75, 1.25, -0.25, 1.6]])
    codes, steps = quantize(weight, 3, "row", "paper")
    assert codes.tolist() == [[-4, 3, 1, 0, 2, 2, 0, 3]]
    assert steps.tolist() == [[0.5]]
    assert dequantize(codes, steps).tolist() == [[-2.0, 1.5, 0.5, 0.0, 1.0, 1.0, 0.0, 1.5]]


def test_llmcompressors_step_in_one_row():
    # N = 4: D = max|w| / 7.5 = 3.75 / 7.5 = 0.5, codes in [-8, 7].
    # w / D = 7.5 -> 8 -> clamped to 7, -7.5 -> -8 (even), 1, -0.5 -> 0 (even), 1.5 -> 2 (even), 6.4 -> 6.
    weight = torch.tensor([[3.75, -3.75, 0.5, -0.25, 0.75, 3.2]])
    codes, steps = quantize(weight, 4, "row", "llmcompressor")
    assert codes.tolist() == [[7, -8, 1, 0, 2, 6]]
    assert steps.tolist() == [[0.5]]
    assert dequantize(codes, steps).tolist() == [[3.5, -4.0, 0.5, 0.0, 1.0, 3.0]]


def test_groups_have_their_own_steps():
    # N = 4, D = max|w| / 8: groups of two with max 8, 0.8, 4, 2 -> D = 1, 0.1, 0.5, 0.25.
    weight = torch.tensor([[-8.0, 3.0, -0.5, 0.5], [4.0, -4.0, 2.0, 0.5]], dtype=torch.float32)
    weight[0, 2] = -0.8
    codes, steps = quantize(weight, 4, 2, "paper")
    assert codes.tolist() == [[-8, 3, -8, 5], [7, -8, 7, 2]]
    assert torch.allclose(steps, torch.tensor([[1.0, 0.1], [0.5, 0.25]]))
    expected = torch.tensor([[-8.0, 3.0, -0.8, 0.5], [3.5, -4.0, 1.75, 0.5]])
    assert torch.allclose(dequantize(codes, steps), expected)


@pytest.mark.parametrize("scale", ["paper", "llmcompressor"])
def test_an_all_zero_group_stays_zero(scale):
    codes, steps = quantize(torch.tensor([[0.0, 0.0, 1.0, -1.0]]), 4, 2, scale)
    assert codes.tolist()[0][:2] == [0, 0]
    assert steps[0, 0] == torch.finfo(torch.float32).eps
    assert dequantize(codes, steps)[0, :2].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("scale", ["paper", "llmcompressor"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_fill_their_range_and_errors_stay_within_half_a_step(bits, scale):
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(bits))
    codes, steps = quantize(weight, bits, 16, scale)
    assert codes.dtype == torch.int8
    assert codes.min() >= -(2 ** (bits - 1))
    assert codes.max() <= 2 ** (bits - 1) - 1
    error = (dequantize(codes, steps) - weight).abs().reshape(16, 4, 16)
    inside = codes.reshape(16, 4, 16) < 2 ** (bits - 1) - 1  # the topmost code also takes what was clamped
    assert (error <= steps.unsqueeze(-1) * 0.5001)[inside].all()


def test_bfloat16_weights_are_computed_in_float32():
    weight = torch.randn(4, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    codes, steps = quantize(weight, 4, 32)
    assert steps.dtype == torch.float32
    for got, wanted in zip((codes, steps), quantize(weight.float(), 4, 32), strict=True):
        assert torch.equal(got, wanted)


def test_row_is_one_group_of_the_whole_row():
    weight = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    for got, wanted in zip(quantize(weight, 4, "row"), quantize(weight, 4, 32), strict=True):
        assert torch.equal(got, wanted)


def test_mid_rise_has_the_same_step_and_no_level_at_zero():
    # D = 7.5 / 7.5 = 1: the levels are -7.5 to 7.5, and weights near zero go to -0.5 or 0.5.
    weight = torch.tensor([[0.01, -0.01, 0.99, 1.01, 7.5, -7.5, 0.0, -3.2]])
    settings = BACKENDS.settings({"backend": "rtn", "bits": 4, "group_size": 8, "levels": "mid_rise"})
    assert BACKENDS.get("rtn").rounded(weight, settings).tolist() == [[0.5, -0.5, 0.5, 1.5, 7.5, -7.5, 0.5, -3.5]]
    assert BACKENDS.get("rtn").grid(weight, settings).levels.tolist() == [code + 0.5 for code in range(-8, 8)]
