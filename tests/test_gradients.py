"""What runs in bfloat16 at 7B rest on, on a tiny model: the reference, parts of a batch, rounding, regions."""

import pytest
import torch
from entries import method_settings

from relapse.models.loading import load_model
from relapse.quantization import BACKENDS
from relapse.unlearning import storage
from relapse.unlearning.gradients import added_in_float32
from relapse.unlearning.methods import METHODS
from relapse.unlearning.optimizers import KERNEL
from relapse.unlearning.region import let_regions_through, regions
from relapse.unlearning.trainer import unlearn

WINDOWS = torch.randint(2, 300, (6, 24), generator=torch.Generator().manual_seed(0)).tolist()
RETAIN = [window[:size] for window, size in zip(WINDOWS, (24, 9, 17, 24, 12, 20), strict=True)][::-1]


@pytest.mark.parametrize("formulation", ["paper", "released"])
@pytest.mark.parametrize("name", ["ga_klr", "npo_klr", "npo_klr_sure"])
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_a_resident_reference_gives_kl_0_at_the_first_step_in_bfloat16(tiny_llama, name, formulation, micro_batch):
    model = load_model(tiny_llama, torch.bfloat16)
    keys = {"reference": "model", "formulation": formulation, "state_storage": "bfloat16", "steps": 2}
    settings = method_settings(name, **keys, micro_batch=micro_batch)
    seen = []
    unlearn(model, WINDOWS, RETAIN, METHODS.get(name), settings, 0, lambda *step: seen.append(step))
    assert seen[0][2] == 0.0
    assert seen[1][2] != 0.0
    assert all(0 < clip <= 1 for *_, clip in seen)


def test_parts_of_a_batch_are_added_in_float32():
    """1 + 4 * 2^-9: added in bfloat16, whose neighbour of 1 is 1 + 2^-7, every small part is lost."""
    parts = [1.0, *[2.0**-9] * 4]
    kept = {}
    for count in (1, len(parts)):
        weight = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
        with added_in_float32([weight], count):
            for part in parts:
                (weight * part).sum().backward()
        kept[count] = weight.grad
        assert weight.grad.dtype == torch.bfloat16
    assert kept[1].tolist() == [1.0] * 3  # one part: torch's own adding, as it was
    assert kept[len(parts)].tolist() == [1.0 + 2**-7] * 3


def test_stochastic_rounding_draws_the_same_bits_in_parts_of_a_tensor(monkeypatch):
    values = torch.randn(40, 25, generator=torch.Generator().manual_seed(1))
    whole, parts = values.clone(), values.clone()
    storage.store([whole], "bfloat16_stochastic", storage.RandomBits(2))
    monkeypatch.setattr(storage, "CHUNK", 64)
    drawn = []
    real = torch.randint
    monkeypatch.setattr(torch, "randint", lambda *args, **keys: drawn.append(args[2]) or real(*args, **keys))
    storage.store([parts], "bfloat16_stochastic", storage.RandomBits(2))
    assert torch.equal(whole, parts) and not torch.equal(whole, values)
    assert max(shape.numel() for shape in drawn) == 64


@pytest.mark.parametrize("levels", ["mid_tread", "mid_rise"])
def test_rtn_in_bfloat16_rounds_the_quantized_weight_once(tiny_llama, levels):
    settings = BACKENDS.settings({"backend": "rtn", "bits": 4, "group_size": 64, "levels": levels})
    rtn, name = BACKENDS.get("rtn"), "model.layers.0.mlp.up_proj.weight"
    stored = load_model(tiny_llama, torch.bfloat16).get_parameter(name)
    loaded = rtn.load(tiny_llama, settings, torch.bfloat16).get_parameter(name)
    assert torch.equal(loaded, rtn.rounded(stored.float(), settings).bfloat16())


def test_foreach_moves_other_weights_than_fused_where_all_is_bfloat16():
    """foreach rounds after every operation, fused once a step; with float32 they hardly differ."""
    moved = {}
    for dtype in (torch.bfloat16, torch.float32):
        generator = torch.Generator().manual_seed(0)
        start = (0.02 * torch.randn(4096, generator=generator)).bfloat16()
        gradients = [(0.01 * torch.randn(4096, generator=generator)).bfloat16() for _ in range(200)]
        for kernel, flags in KERNEL.items():
            weight = torch.nn.Parameter(start.clone().to(dtype))
            optimizer = torch.optim.AdamW([weight], 5e-5, weight_decay=0.0, **flags)
            for gradient in gradients:
                weight.grad = gradient.to(dtype)
                optimizer.step()
            moved[dtype, kernel] = weight.detach().float() - start
    fused, foreach = (moved[torch.bfloat16, kernel] for kernel in KERNEL)
    assert ((fused != 0) != (foreach != 0)).sum() > 10
    assert (fused != foreach).float().mean() > 0.1
    fused, foreach = (moved[torch.float32, kernel] for kernel in KERNEL)
    assert torch.allclose(fused, foreach, atol=1e-7)


def test_an_entry_chooses_the_kernel(tiny_llama):
    after = {}
    for optimizer in KERNEL:
        model = load_model(tiny_llama, torch.bfloat16)
        settings = method_settings("ga_gdr", lr=1e-4, steps=3, state_storage="bfloat16", optimizer=optimizer)
        unlearn(model, WINDOWS, RETAIN, METHODS.get("ga_gdr"), settings, 0, lambda *_: None)
        after[optimizer] = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert not torch.equal(*after.values())


@pytest.mark.parametrize(("region", "inside"), [("below_edge", True), ("beyond_edge", False)])
def test_only_weights_on_one_side_of_the_edge_move(tiny_llama, region, inside):
    # The edge of 5e-5 is 2^-6; the tiny model's weights lie on both sides of it.
    model = load_model(tiny_llama)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    settings = method_settings("ga_gdr", lr=5e-5, steps=4, storage="float32", region=region)
    unlearn(model, WINDOWS, RETAIN, METHODS.get("ga_gdr"), settings, 0, lambda *_: None)
    moved = 0
    for name, parameter in model.named_parameters():
        changed = parameter.detach() != before[name]
        assert ((before[name].abs() < 2**-6)[changed] == inside).all(), name
        moved += int(changed.sum())
    assert moved > 1000


def test_a_region_of_all_masks_nothing():
    weight = torch.nn.Parameter(torch.tensor([0.001, 1.0]))
    weight.grad = torch.ones(2)
    let_regions_through([weight], regions([weight], method_settings("ga", lr=5e-5)))
    assert weight.grad.tolist() == [1.0, 1.0]
    let_regions_through([weight], regions([weight], method_settings("ga", lr=5e-5, region="beyond_edge")))
    assert weight.grad.tolist() == [0.0, 1.0]
