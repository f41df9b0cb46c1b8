"""Model directories read without building the model, and targets with larger or smaller weights."""

from pathlib import Path

import pytest
import torch

from relapse.models.files import read_model
from relapse.models.loading import linear_layers, load_model
from relapse.models.random_base import scale_weights
from relapse.models.weights import StoredWeights
from relapse.runtime.errors import RelapseError

TOKENS = torch.arange(2, 66).reshape(2, 32)  # (B, T)


@pytest.mark.parametrize("folder", ["tiny_llama", "tied_llama"])
def test_weights_and_linear_layers_are_those_of_the_loaded_model(request, folder):
    folder = request.getfixturevalue(folder)
    model = load_model(folder)
    weights = StoredWeights(folder)
    parameters = dict(model.named_parameters())
    assert weights.keys() == parameters.keys()
    assert all(torch.equal(weights[name], parameter) for name, parameter in parameters.items())
    assert sorted(read_model(Path(folder)).linear) == sorted(linear_layers(model))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_job_that_needs_a_gpu_does_not_compute_on_the_cpu(tiny_llama, monkeypatch):
    monkeypatch.setenv("RELAPSE_NEEDS_GPU", "1")
    with pytest.raises(RelapseError, match="gpu: true, and torch sees no GPU here"):
        load_model(tiny_llama)


def test_a_directory_without_weights_is_named(tmp_path):
    with pytest.raises(RelapseError, match=f"{tmp_path} holds no .safetensors weights"):
        StoredWeights(tmp_path)


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_scaled_weights_compute_the_same(tiny_llama, factor):
    model, scaled = load_model(tiny_llama), load_model(tiny_llama)
    scale_weights(scaled, factor)
    for layer in linear_layers(model):
        assert torch.equal(scaled.get_submodule(layer).weight, factor * model.get_submodule(layer).weight)
    with torch.no_grad():
        torch.testing.assert_close(scaled(TOKENS).logits, model(TOKENS).logits, rtol=1e-2, atol=5e-3)  # RMSNorm's eps


def test_only_a_llama_is_scaled():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=16, n_positions=16))
    with pytest.raises(RelapseError, match="weight_scale: a gpt2 model cannot be scaled, only a llama"):
        scale_weights(model, 2.0)
