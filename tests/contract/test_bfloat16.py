"""A study with compute: bfloat16: what holds for the models that it loads, unlearns and scores."""

import bitsandbytes.nn.modules
import pytest
import torch

from relapse.errors import ConfigError
from relapse.quantization import BACKENDS

TOKENS = torch.arange(2, 66).reshape(2, 32)  # (B, T)


def logits(directory, dtype, **settings) -> torch.Tensor:
    """(B, T, V) in float32 on the CPU, of bitsandbytes' model."""
    model = BACKENDS.get("bitsandbytes").load(directory, settings, dtype)
    with torch.no_grad():
        return model(TOKENS.to(model.device)).logits.float().cpu()


@pytest.mark.parametrize("wanted", ["fp4", "nf4"])
def test_layers_that_multiply_in_float32_are_nearer_a_float32_model(tiny_llama, monkeypatch, wanted):
    """With the kernels of GPUs and most CPUs: those with AVX512-BF16 have another, which knows bfloat16 alone."""
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: False)
    float32 = logits(tiny_llama, torch.float32, format=wanted)
    study, layers = (
        (logits(tiny_llama, torch.bfloat16, format=wanted, layer_compute=compute) - float32).norm()
        for compute in ("study", "float32")
    )
    assert 0 < layers < study
    assert torch.equal(float32, logits(tiny_llama, torch.float32, format=wanted, layer_compute="float32"))


def test_int8_has_no_format_to_multiply_in(tiny_llama):
    settings = {"format": "int8", "layer_compute": "float32"}
    for refused in (
        lambda: BACKENDS.get("bitsandbytes").check({}, settings),
        lambda: BACKENDS.get("bitsandbytes").load(tiny_llama, settings),
    ):
        with pytest.raises(
            ConfigError, match=r"layer_compute is float32, but format: int8 .*: leave layer_compute out"
        ):
            refused()
