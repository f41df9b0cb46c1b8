"""Pruning and llm-compressor's weight-only schemes, by hand and against its own runs."""

import pytest
import torch
from entries import quantizer_settings
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from relapse.models.loading import linear_layers
from relapse.quantization import BACKENDS
from relapse.runtime.errors import ConfigError


def rounded(weight: torch.Tensor, backend: str, **keys) -> torch.Tensor:
    return BACKENDS.get(backend).rounded(weight, quantizer_settings(backend, **keys))


def test_pruning_takes_the_smallest_of_a_matrix_and_leaves_the_rest():
    weight = torch.tensor([[0.3, -0.1, 0.2, -0.4], [0.05, 0.6, -0.7, 0.8]])
    found = rounded(weight, "prune", share=0.375)  # three of eight
    assert found.tolist() == torch.tensor([[0.3, 0, 0, -0.4], [0, 0.6, -0.7, 0.8]]).tolist()


def test_mxfp4_by_hand():
    """The largest weight, 5, gives the scale 1: to 4 or 6, and a tie goes to the even code."""
    weight = torch.zeros(1, 32)
    weight[0, :6] = torch.tensor([5.5, 0.2, 0.3, -1.2, 2.6, 1.75])
    found = rounded(weight, "compressed", scheme="MXFP4A16")
    assert found[0, :6].tolist() == [6.0, 0.0, 0.5, -1.0, 3.0, 2.0]


@pytest.mark.parametrize("scheme", ["MXFP4A16", "W4A16_ASYM", "FP8_DYNAMIC"])
def test_weights_are_those_of_a_checkpoint_that_llmcompressor_writes(tiny_llama, tmp_path, monkeypatch, scheme):
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    monkeypatch.chdir(tmp_path)  # for its logs
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    original = {name: model.get_submodule(name).weight.detach().clone() for name in linear_layers(model)}
    oneshot(model=model, recipe=[QuantizationModifier(scheme=scheme, targets="Linear", ignore=["lm_head"])])
    model.save_pretrained(tmp_path / "out", save_compressed=True)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32, quantization_config=CompressedTensorsConfig(dequantize=True)
    )
    for name, weight in original.items():
        assert torch.equal(rounded(weight, "compressed", scheme=scheme), theirs.get_submodule(name).weight), name


def test_an_integer_zero_point_keeps_zero_and_a_float_offset_does_not():
    weight = torch.linspace(-0.31, 0.7, 64).reshape(1, 64)
    weight[0, 20] = 0
    assert rounded(weight, "compressed", scheme="W4A16_ASYM", group_size=64)[0, 20] == 0
    found = rounded(weight, "gguf", format="q4_1")  # in blocks of 32, whose step and offset are float16
    step = (weight[0, 31] + 0.31) / 15  # levels at -0.31 + k step: 0 lies nearer to the ninth than to the tenth
    assert found[0, 20].item() == pytest.approx(-0.31 + 9 * step.item(), abs=1e-3) != 0
    assert found[0, :32].unique().numel() == 16


@pytest.mark.parametrize(
    ("backend", "keys", "width"),
    [
        ("compressed", {"scheme": "NVFP4A16"}, 24),
        ("compressed", {"scheme": "W4A16_ASYM"}, 96),
    ],
)
def test_a_width_that_does_not_fit_names_layer_and_width(backend, keys, width):
    with pytest.raises(ConfigError, match=f"input width {width} of layer down"):
        BACKENDS.get(backend).check({"up": (width, 256), "down": (256, width)}, quantizer_settings(backend, **keys))
