"""The backends against quantizers written for reading: the same weights, or no larger an error of a layer's output."""

import pytest
import torch
from entries import quantizer_settings
from oracles.gptq import gptq
from oracles.pruning import sparsegpt, wanda
from oracles.rtn import rtn, steps

from relapse.models.loading import load_model
from relapse.quantization import BACKENDS

WINDOWS = torch.randint(2, 300, (12, 64), generator=torch.Generator().manual_seed(0)).tolist()
FIRST = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]  # what they see depends on no rounded weight


def test_the_oracle_by_hand():
    """Two columns, step 1: 0.4 goes to 0, and the second column takes over what the two inputs have in common.

    H = 2 X'X = [[2, 1], [1, 2]] for X'X = [[1, .5], [.5, 1]]; H^-1 = [[2, -1], [-1, 2]] / 3. The first error is
    0.4 / (2/3) = 0.6, so the second weight becomes 0.4 - 0.6 * (-1/3) = 0.6, which goes to 1.
    """
    weight = torch.tensor([[0.4, 0.4, 7.5]])
    inputs = torch.linalg.cholesky(torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])).T
    assert torch.equal(rtn(weight, 4, 3), torch.tensor([[0.0, 0.0, 7.0]]).double())  # step 7.5 / 7.5; codes end at 7
    assert torch.allclose(
        gptq(weight, inputs, 4, 3, 1e-12, "none"), torch.tensor([[0.0, 1.0, 7.0]]).double(), atol=1e-9
    )


@pytest.mark.parametrize(("bits", "group_size"), [(4, 64), (8, 128), (3, 32)])
def test_rtn_is_the_oracles(bits, group_size):
    weight = torch.randn(24, 128, generator=torch.Generator().manual_seed(1)) * 0.1
    found = BACKENDS.get("rtn").rounded(weight, quantizer_settings("rtn", bits=bits, group_size=group_size)).double()
    places = (weight.double() / steps(weight, bits, group_size)).abs()
    tie = ((places % 1) - 0.5).abs() < 1e-6  # float32 decides these, such as every group's largest weight
    assert tie.float().mean() < 0.05
    assert torch.allclose(found[~tie], rtn(weight, bits, group_size)[~tie], rtol=1e-6, atol=0)


@pytest.fixture(scope="module")
def seen(tiny_llama):
    """Layer -> what it sees on WINDOWS, (tokens, in), for the layers that see the same whatever is rounded."""
    model, inputs = load_model(tiny_llama), {}
    for part in FIRST:
        name = f"model.layers.0.{part}"
        inputs[name] = []
        model.get_submodule(name).register_forward_hook(
            lambda _module, arguments, _output, name=name: inputs[name].append(arguments[0].flatten(0, 1))
        )
    with torch.no_grad():
        for window in WINDOWS:
            model(torch.tensor([window]))
    weights = {name: model.get_submodule(name).weight.detach() for name in inputs}
    return weights, {name: torch.cat(parts) for name, parts in inputs.items()}


@pytest.mark.parametrize("order", ["static", "none"])
def test_gptqs_error_is_no_worse_than_the_oracles(tiny_llama, seen, tmp_path, order):
    settings = quantizer_settings("gptq", bits=4, group_size=64, act_order=order)
    backend = BACKENDS.get("gptq")
    backend.quantize(tiny_llama, settings, WINDOWS, tmp_path)
    found = backend.effective(tmp_path)
    for name, weight in seen[0].items():
        inputs = seen[1][name].double()

        def error(quantized, weight=weight, inputs=inputs):
            return ((weight.double() - quantized.double()) @ inputs.T).square().sum().item()

        reference = error(gptq(weight, inputs, 4, 64, settings.dampening, order))
        assert error(found[f"{name}.weight"]) <= 1.02 * reference, name
        assert reference < 0.9 * error(rtn(weight, 4, 64)), name


def test_the_oracles_of_pruning_by_hand():
    """Inputs of norms 10, 1, 0.1 and 2 make 10, 2, 0.3 and 1 of weights 1, -2, 3 and 0.5: the last two go.

    SparseGPT, with H = [[2, 1], [1, 2]]: w^2 / [H_j^-1]_jj is 0.16 / (2/3) = 0.24 and 0.16 / (1/2) = 0.32, so the first
    goes. Its error 0.4 / (2/3) = 0.6 makes the second 0.4 + 0.6 / 3 = 0.6.
    """
    found = wanda(torch.tensor([[1.0, -2.0, 3.0, 0.5]]), torch.diag(torch.tensor([10.0, 1.0, 0.1, 2.0])), 0.5)
    assert found.tolist() == [[1.0, -2.0, 0.0, 0.0]]
    inputs = torch.linalg.cholesky(torch.tensor([[1.0, 0.5], [0.5, 1.0]])).T
    found = sparsegpt(torch.tensor([[0.4, 0.4]]), inputs, 0.1, 1e-12)
    assert torch.allclose(found, torch.tensor([[0.0, 0.6]]).double(), atol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_wanda_is_the_oracles(tiny_llama, seen, tmp_path, share):
    backend, settings = BACKENDS.get("wanda"), quantizer_settings("wanda", share=share)
    backend.quantize(tiny_llama, settings, WINDOWS, tmp_path)
    found = backend.effective(tmp_path)
    for name, weight in seen[0].items():
        expected = wanda(weight, seen[1][name], share)
        same = found[f"{name}.weight"].double() == expected
        assert same.float().mean() > 0.999, name  # float32 decides where two scores are nearly the same
        assert ((found[f"{name}.weight"] == 0).sum(dim=1) == int(share * weight.shape[1])).all(), name


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_sparsegpt_is_the_oracles(tiny_llama, seen, tmp_path, share):
    backend, settings = BACKENDS.get("sparsegpt"), quantizer_settings("sparsegpt", share=share)
    backend.quantize(tiny_llama, settings, WINDOWS, tmp_path)
    found = backend.effective(tmp_path)
    for name, weight in seen[0].items():
        expected = sparsegpt(weight, seen[1][name], share, settings.dampening)
        pruned = found[f"{name}.weight"].double()
        assert ((pruned == 0) == (expected == 0)).float().mean() > 0.999, name
        assert torch.isclose(pruned, expected, rtol=1e-3, atol=1e-4).float().mean() > 0.99, name
