"""Defences beside storage: SAM, quantization-aware unlearning and 8-bit moments, against gradients worked out apart."""

import copy
import json
import shlex

import pytest
import torch
from entries import method_settings
from small_study import edited

from relapse.models.loading import load_model
from relapse.quantization import BACKENDS, layer_shapes
from relapse.runtime.errors import ConfigError
from relapse.study import config
from relapse.study.graph import Graph
from relapse.unlearning.methods import METHODS
from relapse.unlearning.optimizers import optimizer_of
from relapse.unlearning.reference import Reference
from relapse.unlearning.sharpness import moved_along
from relapse.unlearning.step import gradients_of_step, losses_of_step
from relapse.unlearning.storage import states
from relapse.unlearning.straight_through import StraightThrough
from relapse.unlearning.trainer import unlearn

WINDOWS = torch.randint(2, 300, (4, 20), generator=torch.Generator().manual_seed(0)).tolist()
RETAIN = [window[:size] for window, size in zip(WINDOWS, (20, 9, 17, 12), strict=True)][::-1]
PAIRS = [(0, 0), (1, 1), (2, 2)]
INT4 = BACKENDS.settings({"backend": "rtn", "bits": 4, "group_size": 64})


def gradients(model, name, micro_batch=3, alpha=0.5, **keys):
    """The gradients of one step, by name."""
    settings, method = method_settings(name, batch_size=3, **keys), METHODS.get(name)
    reference = Reference(model, WINDOWS, RETAIN, method, settings)
    parameters = list(model.parameters())
    gradients_of_step(model, method, settings, reference, PAIRS, parameters, micro_batch, alpha)
    return [parameter.grad for parameter in parameters]


def parts(model, start, name):
    """The gradients of forget and retain loss at the weights of `model`, the reference being that of `start`."""
    settings, method = method_settings(name, batch_size=3), METHODS.get(name)
    reference = Reference(start, WINDOWS, RETAIN, method, settings)
    forget, retain = losses_of_step(model, method, settings, reference, PAIRS)
    weights = list(model.parameters())
    kept = torch.autograd.grad(retain, weights, retain_graph=True) if method.retain else map(torch.zeros_like, weights)
    return torch.autograd.grad(forget, weights), list(kept)


def test_the_weights_move_along_the_gradient_and_back():
    """(3, 4) and (12) have norm 13: at rho 1.3 every weight moves by a tenth of its gradient."""
    weights = [torch.tensor([1.0, 1.0]), torch.tensor([-1.0])]
    with moved_along(weights, [torch.tensor([3.0, 4.0]), torch.tensor([12.0])], 1.3):
        assert torch.allclose(torch.cat(weights), torch.tensor([1.3, 1.4, 0.2]))
    assert torch.cat(weights).tolist() == [1.0, 1.0, -1.0]
    with moved_along(weights, [torch.zeros(2), torch.zeros(1)], 1.3):
        assert torch.cat(weights).tolist() == [1.0, 1.0, -1.0]


@pytest.mark.parametrize("micro_batch", [3, 1])
@pytest.mark.parametrize("name", ["ga", "npo_klr"])
def test_sam_takes_the_forget_gradient_where_the_loss_is_higher(tiny_llama, name, micro_batch):
    model, rho = load_model(tiny_llama), 0.5
    start, sharp = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():  # away from the target, where NPO's gradient and KLR's differ from those at the target
        for parameter in model.parameters():
            parameter += 0.01
    sharp.load_state_dict(model.state_dict())
    forget, retain = parts(model, start, name)
    norm = sum(gradient.square().sum() for gradient in forget).sqrt()
    with torch.no_grad():
        for parameter, gradient in zip(sharp.parameters(), forget, strict=True):
            parameter += rho * gradient / norm
    uphill, _ = parts(sharp, start, name)
    expected = [one + 0.5 * other for one, other in zip(uphill, retain, strict=True)]
    before = [parameter.detach().clone() for parameter in model.parameters()]
    settings, method = method_settings(name, batch_size=3, sam_rho=rho), METHODS.get(name)
    reference, parameters = Reference(start, WINDOWS, RETAIN, method, settings), list(model.parameters())
    gradients_of_step(model, method, settings, reference, PAIRS, parameters, micro_batch, 0.5)
    for parameter, wanted, kept in zip(parameters, expected, before, strict=True):
        assert torch.allclose(parameter.grad, wanted, rtol=1e-3, atol=1e-5 * wanted.abs().max().item() + 1e-9)
        assert torch.equal(parameter.detach(), kept)
    plain = [one + 0.5 * other for one, other in zip(forget, retain, strict=True)]
    apart = sum((one - other).square().sum() for one, other in zip(plain, expected, strict=True)).sqrt()
    assert apart > 0.01 * norm  # rho is large enough for the test to tell the two


def test_gradients_are_those_of_the_rounded_model_and_the_weights_stay(tiny_llama):
    model = load_model(tiny_llama)
    rounded, before = BACKENDS.get("rtn").load(tiny_llama, INT4), copy.deepcopy(model.state_dict())
    with StraightThrough(model, INT4).rounded():
        found = gradients(model, "ga_gdr")
    assert all(torch.equal(one, other) for one, other in zip(found, gradients(rounded, "ga_gdr"), strict=True))
    assert not torch.equal(found[3], gradients(model, "ga_gdr")[3])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_run_that_is_aware_of_a_quantizer_moves_unrounded_weights(tiny_llama):
    model, rounded = load_model(tiny_llama), BACKENDS.get("rtn").load(tiny_llama, INT4)
    before = {layer: model.get_submodule(layer).weight.detach().clone() for layer in layer_shapes(model)}
    settings = method_settings("ga_gdr", lr=1e-4, steps=2, storage="float32", quantization_aware="int4")
    unlearn(model, WINDOWS, RETAIN, METHODS.get("ga_gdr"), settings, 0, lambda *_: None, quantizer=INT4)
    for layer, weight in before.items():
        moved = (model.get_submodule(layer).weight - weight).abs().max()
        assert 0 < moved < 3e-4  # two steps of lr
        assert (rounded.get_submodule(layer).weight - weight).abs().max() > 3e-3  # rounding would have moved it further


def test_adamw_8bit_takes_adamws_first_step_and_keeps_a_byte_a_moment():
    generator = torch.Generator().manual_seed(0)
    start, gradient = torch.randn(64, 256, generator=generator), torch.randn(64, 256, generator=generator)
    moved = {}
    for kind in ("adamw_fused", "adamw_8bit"):
        weight = torch.nn.Parameter(start.clone())
        optimizer = optimizer_of([weight], method_settings("ga", optimizer=kind, lr=1e-3))
        weight.grad = gradient
        optimizer.step()
        moved[kind] = weight.detach() - start
        kept = sum(
            value.numel() * value.element_size()
            for value in optimizer.state[weight].values()
            if torch.is_tensor(value) and value.numel() > 1
        )
        assert kept / start.numel() == pytest.approx({"adamw_fused": 8, "adamw_8bit": 2}[kind], rel=0.1)
    assert torch.allclose(*moved.values(), atol=1e-6)
    assert states(optimizer) == []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"quantization_aware": "int5"}, "no quantizer is called 'int5'. Did you mean 'int4'?"),
        ({"quantization_aware": "int4", "parameters": "lora"}, "must be left out with parameters: lora"),
        ({"optimizer": "adamw_8bit", "state_storage": "bfloat16"}, "must be left out with optimizer: adamw_8bit"),
        ({"method": "npo_klr_sure", "mask": "released", "sam_rho": 0.1}, "must be left out with mask: released"),
        ({"sam_rho": 0}, "is 0, must be a number (greater than 0)"),
    ],
)
def test_defences_that_cannot_be_had_are_named(keys, expected):
    entry = {"lr": 1e-5, "alpha": 1.0, "steps": 2, "max_length": 64}
    with pytest.raises(ConfigError) as error:
        config.resolve(edited(("methods/npo_klr", entry | keys)))
    assert expected in str(error.value) and "methods.npo_klr" in str(error.value)


def test_a_run_is_given_the_quantizer_that_it_is_aware_of():
    written = edited(("methods/npo_klr/quantization_aware", "int4"))
    found = Graph(config.resolve(written), config.entry_names(written))
    options = shlex.split(found.unlearning_options("npo_klr"))
    assert BACKENDS.settings(json.loads(options[options.index("--quantizer") + 1])).rounding()["backend"] == "rtn"
    assert "relapse/quantization/rtn.py" in found.method_sources("npo_klr")
    plain = edited()
    found = Graph(config.resolve(plain), config.entry_names(plain))
    assert "--quantizer" not in found.unlearning_options("npo_klr")
    assert "relapse/quantization/rtn.py" not in found.method_sources("npo_klr")
