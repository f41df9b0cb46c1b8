"""LoRA: what a merge comes to by hand, which layers get an adapter, and the reference without a second model."""

import random
from types import SimpleNamespace

import pytest
import torch
from entries import method_settings

from relapse.models.loading import linear_layers, load_model, load_tokenizer
from relapse.runtime.errors import ConfigError
from relapse.text.windows import windows
from relapse.unlearning import lora
from relapse.unlearning.methods import METHODS
from relapse.unlearning.storage import RandomBits, store
from relapse.unlearning.trainer import unlearn

ADAPTERS = lora.Lora(rank=2, alpha=6.0)
Q = "model.layers.0.self_attn.q_proj"
COMMON = {"lr": 1e-2, "storage": "float32", "parameters": "lora", "lora": ADAPTERS}


def run(folder, model, method="npo_klr", **settings):
    tokenizer = load_tokenizer(folder)
    forget, retain = (
        windows(tokenizer, texts, 24, random.Random(0))
        for texts in (["Ada Moss is a chemist born in Lund."] * 4, ["Ivo Brandt is a pilot who collects stamps."] * 4)
    )
    method = METHODS.get(method)
    settings = method_settings(method.name, **COMMON | settings)
    return unlearn(model, forget, retain, method, settings, 0, lambda *step: None)


def moved(folder, model) -> set[str]:
    old = dict(load_model(folder).named_parameters())
    return {name for name, value in model.named_parameters() if not torch.equal(value, old[name])}


@pytest.mark.parametrize("storage", ["float32", "bfloat16", "bfloat16_stochastic"])
def test_merged_is_w_plus_alpha_over_rank_b_a_rounded_once(tiny_llama, storage):
    model = load_model(tiny_llama)
    before = model.get_submodule(Q).weight.detach().clone()
    other = model.get_submodule("model.layers.1.mlp.up_proj").weight.detach().clone()
    lora.add(model, [Q], ADAPTERS, seed=0)
    layer = model.get_submodule(Q)
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_(generator=torch.Generator().manual_seed(1))
    a, b = (part["default"].weight.detach().clone() for part in (layer.lora_A, layer.lora_B))  # (2, in), (out, 2)
    lora.merge(model, storage, RandomBits(2))
    expected = before + 3.0 * (b @ a)
    if storage == "float32":
        assert torch.allclose(model.get_submodule(Q).weight, expected, rtol=1e-5, atol=1e-6)
    store([expected], storage, RandomBits(2))
    near = torch.isclose(model.get_submodule(Q).weight, expected, rtol=1e-5, atol=1e-6)
    assert near.float().mean() > 0.999  # sums that lie on a boundary may be rounded to its other side
    assert torch.equal(model.get_submodule("model.layers.1.mlp.up_proj").weight, other)


def test_a_merge_smaller_than_half_a_spacing_is_lost_in_bfloat16_and_kept_in_float32(tiny_llama):
    """At 1.0 bfloat16's neighbours are 2^-8 below and 2^-7 above: a change of 2^-10 rounds back, one of 2^-6 stays."""
    for storage, change, stays in (("bfloat16", 2**-10, False), ("bfloat16", 2**-6, True), ("float32", 2**-10, True)):
        model = load_model(tiny_llama)
        with torch.no_grad():
            model.get_submodule(Q).weight.fill_(1.0)
        lora.add(model, [Q], ADAPTERS, seed=0)
        layer = model.get_submodule(Q)
        with torch.no_grad():
            layer.lora_A["default"].weight.fill_(1.0)
            layer.lora_B["default"].weight.fill_(change / (3.0 * 2))  # alpha / rank = 3, summed over rank 2
        lora.merge(model, storage, RandomBits(0))
        assert ((model.get_submodule(Q).weight != 1.0).all().item()) is stays


def test_adapters_change_nothing_before_they_are_trained_and_off_they_are_the_target(tiny_llama):
    model, tokens = load_model(tiny_llama), torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        target = model(tokens).logits
        parameters = lora.add(model, [Q], ADAPTERS, seed=0)
        assert torch.equal(model(tokens).logits, target)
        for parameter in parameters:
            parameter.add_(0.1)
        changed = model(tokens).logits
        assert not torch.equal(changed, target)
        with lora.switched_off(model):
            assert torch.equal(model(tokens).logits, target)
        assert torch.equal(model(tokens).logits, changed)
    assert all(parameter.requires_grad for parameter in parameters)


def test_the_resident_reference_is_no_second_model(tiny_llama, monkeypatch):
    def refuse(*_):
        raise AssertionError("a second model")

    model = load_model(tiny_llama)
    monkeypatch.setattr("relapse.unlearning.reference.copy", SimpleNamespace(deepcopy=refuse))
    done = run(tiny_llama, model, reference="model")
    assert done["trained"] == sum(2 * (out + into) for out, into in SHAPES) * 2  # rank 2, two blocks


SHAPES = [(128, 128)] * 4 + [(384, 128)] * 2 + [(128, 384)]


def test_layers_are_chosen_by_the_ends_of_their_names():
    names = ["a.q_proj", "a.v_proj", "b.q_proj", "b.xq_proj"]
    assert lora.target_layers(names, "linear") == names
    assert lora.target_layers(names, ["q_proj"]) == ["a.q_proj", "b.q_proj"]
    assert lora.target_layers(names, ["b.q_proj", "v_proj"]) == ["a.v_proj", "b.q_proj"]
    with pytest.raises(ConfigError, match=r"no linear layer is called c_attn\. There are q_proj, v_proj, xq_proj"):
        lora.target_layers(names, ["q_proj", "c_attn"])


def test_only_target_modules_move(tiny_llama):
    model = load_model(tiny_llama)
    run(tiny_llama, model, lora=lora.Lora(rank=2, target_modules=["q_proj", "v_proj"]))
    expected = {f"model.layers.{block}.self_attn.{part}_proj.weight" for block in (0, 1) for part in "qv"}
    assert moved(tiny_llama, model) == expected


@pytest.mark.parametrize("mask", ["paper", "random"])
def test_sure_gives_adapters_to_the_modules_that_its_mask_keeps(tiny_llama, mask):
    """The same modules as without LoRA, since the mask comes from the target's own weights."""
    model, plain = load_model(tiny_llama), load_model(tiny_llama)
    done = run(tiny_llama, model, "npo_klr_sure", mask=mask, percentile=70)
    without = run(tiny_llama, plain, "npo_klr_sure", mask=mask, percentile=70, parameters="full")
    assert done["moving"] == without["moving"] and moved(tiny_llama, model) == set(done["moving"])


def test_sures_mask_chooses_among_the_layers_with_an_adapter(tiny_llama):
    model = load_model(tiny_llama)
    done = run(tiny_llama, model, "npo_klr_sure", percentile=50, lora=lora.Lora(rank=2, target_modules=["o_proj"]))
    assert done["moving"] and all(name.endswith("o_proj.weight") for name in done["moving"])


def test_sure_as_released_trains_every_adapter(tiny_llama):
    model = load_model(tiny_llama)
    done = run(tiny_llama, model, "ga_gdr_sure", mask="released")
    assert done["moving"] is None
    assert moved(tiny_llama, model) == {f"{layer}.weight" for layer in linear_layers(model)}
