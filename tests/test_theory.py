"""The prediction from weights, rate, storage and format, against arithmetic and against what was measured."""

from functools import partial

import pytest
import torch
from entries import method_settings, quantizer_settings

from relapse.analysis import theory
from relapse.quantization import BACKENDS
from relapse.unlearning.schedule import rate


def rounding(backend: str, **keys):
    return partial(BACKENDS.get(backend).rounded, settings=quantizer_settings(backend, **keys))


def normal(rows: int = 64, width: int = 512, deviation: float = 0.1) -> torch.Tensor:
    weight = torch.randn(rows, width, generator=torch.Generator().manual_seed(1)) * deviation
    return weight.bfloat16().float()


def test_the_rate_warms_up_and_falls_to_zero():
    settings = method_settings("ga", lr=1.0, lr_schedule="linear", warmup_steps=2)
    assert [rate(settings, step, 6) for step in range(1, 7)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert rate(method_settings("ga", lr=0.5), 1, 6) == rate(method_settings("ga", lr=0.5), 6, 6) == 0.5


def test_the_edges_of_a_linear_decay():
    """From 2^-14 the edge is 2^-6 down to 2^-15, which three quarters of the path lie above."""
    path = theory.path_by_edge(method_settings("ga", lr=2**-14, lr_schedule="linear"), 1024)
    assert path[2**-6] == pytest.approx(3 / 4, abs=0.002)
    assert path[2**-7] == pytest.approx(3 / 16, abs=0.002)
    assert sum(path.values()) == pytest.approx(1)
    assert list(theory.path_by_edge(method_settings("ga", lr=2**-14), 9)) == [2**-6]


def test_a_sample_is_whole_rows_of_every_matrix():
    target = {"a": torch.arange(40.0).reshape(10, 4), "b": torch.zeros(2, 2**17)}
    first, second = theory.sample(target, ["a", "b"])
    assert torch.equal(first, target["a"]) and second.shape == (1, 2**17)


def test_steps_of_one_direction_are_the_rate_and_noise_makes_them_smaller():
    start = torch.zeros(2000)
    settings = method_settings("ga", lr=1e-3, steps=100, storage="float32")
    moved = [theory.walk(start, settings, 100, drift).abs().mean().item() / (100 * 1e-3) for drift in (0.1, 1.0, 100.0)]
    assert moved[2] == pytest.approx(1, abs=0.01)
    assert moved[0] < 0.2 < 0.5 < moved[1] < 0.6


@pytest.mark.parametrize(
    ("keys", "limit"), [({"steps": 1500}, None), ({"steps": None, "epochs": 3}, 1500)], ids=["steps", "epochs"]
)
@pytest.mark.parametrize(("steps", "path"), [(1500, 750.5), (750, 562.75)])
def test_a_decay_is_walked_to_the_last_step_that_a_run_took(keys, limit, steps, path):
    """Steps of one direction go the sum of the rates: (1500 - t + 1) / 1500 of lr, over all t up to the last."""
    settings = method_settings("ga", lr=1e-3, lr_schedule="linear", storage="float32", **keys)
    moved = theory.walk(torch.zeros(2000), settings, steps, 100.0, limit)
    assert moved.abs().mean().item() == pytest.approx(path * 1e-3, rel=0.01)


def test_a_sign_optimiser_steps_by_the_rate_and_a_region_lets_no_other_weight_move():
    """Kahan keeps what bfloat16 loses, so that weights of 1 move although a step of 2^-10 is an eighth of a spacing."""
    start = torch.tensor([1.0, 2.0**-9])
    sign = method_settings("ga", lr=2.0**-10, steps=64, optimizer="sign", storage="bfloat16_kahan")
    moved = (theory.walk(start, sign, 64, 100.0) - start).abs()
    assert moved[0] > 2**-7 and moved[1] == pytest.approx(64 * 2**-10, rel=0.1)
    inside = method_settings("ga", lr=2.0**-14, steps=64, storage="float32", region="below_edge")  # 2^-6
    assert torch.equal(theory.walk(start, inside, 64, 0.3) != start, torch.tensor([False, True]))


def test_no_weight_beyond_the_reach_of_its_steps_moves():
    """Steps of 5e-5, edge 2^-6: Adam's, at most about three rates, leave weights beyond 2^-4 where they are."""
    start = normal().flatten()
    moved = theory.walk(start, method_settings("ga", lr=5e-5), 200, 0.3)
    assert torch.equal(moved[start.abs() > 2**-4], start[start.abs() > 2**-4])
    assert (moved != start)[start.abs() < 2**-7].float().mean() > 0.95


@pytest.mark.parametrize(
    ("lr", "steps", "backend", "keys", "measured"),
    [
        (1.6e-5, 4000, "rtn", {"bits": 4, "group_size": 128}, 0.00),
        (1.6e-5, 4000, "bitsandbytes", {"format": "fp4"}, 0.42),
        (5e-5, 4000, "bitsandbytes", {"format": "nf4"}, 1.03),
        (5e-5, 4000, "rtn", {"bits": 4, "group_size": 128}, 0.13),
        (1.6e-4, 249, "rtn", {"bits": 3, "group_size": 128}, 0.31),
        (1.6e-4, 249, "rtn", {"bits": 4, "group_size": 128}, 1.14),
    ],
)
def test_it_gives_what_the_mechanism_study_measured(lr, steps, backend, keys, measured):
    """docs/findings/mechanism-absorption.csv, npo_klr in bfloat16, on normal weights of its targets' deviation."""
    walks = theory.walked({"w": normal(8)}, ["w"], method_settings("npo_klr", lr=lr, steps=4000), steps)
    found = theory.predictions(walks, rounding(backend, **keys))
    assert found["predicted"] == pytest.approx(measured, abs=0.22)
    assert found["predicted_low"] <= found["predicted"] <= found["predicted_high"]


def test_all_survives_float32_and_lora_has_no_prediction():
    walks = theory.walked({"w": normal()}, ["w"], method_settings("ga", lr=5e-5, storage="float32"), 400)
    assert theory.predictions(walks, rounding("rtn", bits=4, group_size=128))["predicted"] == pytest.approx(1, abs=0.1)
    assert theory.walked({"w": normal()}, ["w"], method_settings("ga", parameters="lora"), 400) is None
    assert theory.predictions(None, None)["predicted"] is None


def test_zeros_cell_is_half_a_step_of_a_uniform_grid_and_a_fifth_of_the_weights_pruned():
    """bits 4 and scale 10 on whole rows: half a step is max / 20; the smallest fifth of a normal lies below 0.253."""
    weight = normal(4, 512)
    half = (weight.abs().amax(dim=1) / 20).median().item() / weight.std().item()
    found = theory.zero_cell([weight], rounding("rtn", bits=5, group_size="row", scale=10))
    assert found == pytest.approx(half, rel=0.26)
    assert theory.zero_cell([normal()], rounding("prune", share=0.2)) > 0.253 / 1.26  # edges lie a quarter apart
    assert theory.zero_cell([normal()], rounding("full")) == 0
