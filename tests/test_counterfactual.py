"""Counterfactual weights: by hand, as a loaded model has them, and what a study or a program is refused."""

import pytest
import torch
from entries import quantizer_settings
from transformers import AutoModelForCausalLM

from relapse.models.loading import linear_layers
from relapse.quantization import BACKENDS
from relapse.quantization.counterfactual import counterfactual
from relapse.runtime.errors import ConfigError

BACKEND = BACKENDS.get("counterfactual")
INT4 = {"backend": "rtn", "bits": 4, "group_size": 64}


def test_the_four_parts_by_hand():
    # Whole numbers as the grid: 0.25 -> 0.375 is lost, 0.25 -> 0.75 becomes 0 -> 1, the last weight has not moved.
    before, after = torch.tensor([0.25, 0.25, 2.25]), torch.tensor([0.375, 0.75, 2.25])
    parts = {
        "update": [0.25, 1.25, 2.25],
        "noise": [0.125, 0.5, 2.0],
        "survived": [0.25, 0.75, 2.25],
        "absorbed": [0.375, 0.25, 2.25],
    }
    for part, expected in parts.items():
        assert counterfactual(before, after, before.round(), after.round(), part).tolist() == expected, part


@pytest.fixture(scope="module")
def unlearned(tiny_llama, tmp_path_factory):
    """The tiny model with every weight moved a little, its head and embeddings too."""
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    folder = tmp_path_factory.mktemp("unlearned")
    model.save_pretrained(folder)
    return folder


def parameters(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().cpu() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("keys", BACKEND.examples, ids=lambda keys: keys["part"])
def test_a_loaded_model_has_them_in_its_linear_layers_alone(tiny_llama, unlearned, keys):
    settings = quantizer_settings("counterfactual", **keys)
    loaded = BACKEND.load(unlearned, settings, target_dir=tiny_llama)
    target, after = (
        parameters(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))
        for folder in (tiny_llama, unlearned)
    )
    rtn, entry = BACKENDS.get("rtn"), BACKENDS.settings(INT4)
    layers = {f"{layer}.weight" for layer in linear_layers(loaded)}
    for name, weight in parameters(loaded).items():
        t, u = target[name], after[name]
        rounded = (rtn.rounded(t, entry), rtn.rounded(u, entry)) if name in layers else ()
        expected = counterfactual(t, u, *rounded, keys["part"]) if name in layers else u
        assert torch.equal(weight, expected), name


@pytest.mark.parametrize("part", ["update", "survived", "absorbed"])
def test_of_the_target_itself_nothing_changes(tiny_llama, part):
    settings = quantizer_settings("counterfactual", quantizer=INT4, part=part)
    loaded = parameters(BACKEND.load(tiny_llama, settings, target_dir=tiny_llama))
    original = parameters(AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32))
    assert all(torch.equal(weight, original[name]) for name, weight in loaded.items())


def test_what_cannot_be_taken_apart_is_refused(tiny_llama):
    wrong = {
        "does not look at weights alone": {"backend": "gptq", "bits": 4, "group_size": 64},
        "quantizer: bits: Field required": {"backend": "rtn", "group_size": 64},
        "write a quantizer's entry": {"bits": 4},
        "unknown quantizer backend": {"backend": "rnt"},
    }
    for message, entry in wrong.items():
        with pytest.raises(ConfigError, match=message):
            BACKEND.check({}, quantizer_settings("counterfactual", quantizer=entry, part="noise"))
    with pytest.raises(ConfigError, match="group_size 96 does not divide"):
        BACKEND.check(
            {"up": (8, 64)}, quantizer_settings("counterfactual", quantizer=INT4 | {"group_size": 96}, part="noise")
        )
    with pytest.raises(ConfigError, match="name the target's folder"):
        BACKEND.load(tiny_llama, quantizer_settings("counterfactual", quantizer=INT4, part="noise"))
