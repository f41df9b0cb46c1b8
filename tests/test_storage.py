"""Storage: what rounding to bfloat16 does to parameters and optimiser states."""

import math
from itertools import pairwise

import pytest
import torch
from entries import method_settings

from relapse.analysis.bfloat16 import edge, passing_step
from relapse.unlearning.optimizers import optimizer_of
from relapse.unlearning.settings import StopAt
from relapse.unlearning.stopping import StopRule
from relapse.unlearning.storage import RandomBits, Rounding, states, store

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_nearest_is_ties_to_even():
    # bfloat16 keeps 8 significant bits: neighbours of 1 are 1 + 2^-7; halfway 1 + 2^-8 goes to the even 1, and
    # 1 + 3 * 2^-8, halfway between 1 + 2^-7 and 1 + 2^-6, to the even 1 + 2^-6.
    values = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-12])
    stored = values.clone()
    store([stored], "bfloat16")
    assert stored.tolist() == [1, 1 + 2**-6, 1 + 2**-7]
    unchanged = values.clone()
    store([unchanged], "float32")
    assert torch.equal(unchanged, values)


def test_stochastic_rounding_takes_a_neighbour_and_is_right_on_average():
    # A quarter of the way from 1 to 1 + 2^-7, and the same below zero.
    for sign in (1, -1):
        values = torch.full((100_000,), sign * (1 + 2**-9))
        store([values], "bfloat16_stochastic", RandomBits(0))
        assert set(values.tolist()) == {sign * 1.0, sign * (1 + 2**-7)}
        up = (values.abs() > 1).float().mean().item()
        assert up == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 100_000))


def test_stochastic_rounding_leaves_bfloat16_values_alone_and_repeats():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    exact = values.bfloat16().float()
    kept = exact.clone()
    store([kept], "bfloat16_stochastic", RandomBits(2))
    assert torch.equal(kept, exact)
    first, second = values.clone(), values.clone()
    store([first], "bfloat16_stochastic", RandomBits(3))
    store([second], "bfloat16_stochastic", RandomBits(3))
    assert torch.equal(first, second)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_gpu)])
def test_random_bits_come_from_one_generator_of_the_weights_device(device):
    """Adding the next draws of a generator with that seed and cutting the lower half off, tensor after tensor."""
    tensors = [torch.linspace(-1, 1, size, device=device) for size in (7, 5)]
    drawn, generator = [tensor.clone() for tensor in tensors], torch.Generator(device).manual_seed(4)
    random_bits = RandomBits(4)
    store(drawn, "bfloat16_stochastic", random_bits)
    for before, after in zip(tensors, drawn, strict=True):
        bits = torch.randint(0, 2**16, before.shape, dtype=torch.int32, generator=generator, device=device)
        assert torch.equal(after.view(torch.int32), (before.view(torch.int32) + bits) & -(2**16))
    assert list(random_bits.generators) == [tensors[0].device]


def test_storing_gives_the_bits_of_adamw_on_bfloat16_parameters_and_states():
    """float32 AdamW with rounding after the step, against torch.optim.AdamW(fused=True) on bfloat16 tensors."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(64, 65, generator=generator).mul(0.1).bfloat16()
    real = torch.nn.Parameter(start.clone())
    ours = torch.nn.Parameter(start.float())
    optimizers = [torch.optim.AdamW([p], lr=5e-5, weight_decay=0.0, fused=True) for p in (real, ours)]
    for _ in range(50):
        gradient = torch.randn(start.shape, generator=generator).mul(0.01).bfloat16()
        real.grad, ours.grad = gradient.clone(), gradient.float()
        for optimizer in optimizers:
            optimizer.step()
        store([ours], "bfloat16")
        store(states(optimizers[1]), "bfloat16")
        assert torch.equal(real.float(), ours)
        for name in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizers[0].state[real][name].float(), optimizers[1].state[ours][name])
    assert not torch.equal(real, start)


def test_a_second_moment_in_bfloat16_hardly_decays():
    """0.999 v lies within half a bfloat16 step of v for most v, so that it rounds back to v."""
    moment = torch.tensor([1.5])
    for _ in range(100):
        moment *= 0.999
        store([moment], "bfloat16")
    assert moment.item() == 1.5
    moment = torch.tensor([1.5])
    for _ in range(100):
        moment *= 0.999
    assert moment.item() == pytest.approx(1.5 * 0.999**100, rel=1e-4)


@pytest.mark.parametrize(
    ("step", "expected"),
    # 256 * 6e-5 = 0.01536, between 2^-7 and 2^-6; 256 * 1.2e-4 = 0.0307; 256 * 1e-5 = 0.00256; a power of two is a tie.
    [(6e-5, 2**-6), (1.2e-4, 2**-5), (1e-5, 2**-8), (2.0**-14, 2**-6)],
)
def test_the_edge_is_where_rounding_swallows_a_step(step, expected):
    assert edge(step) == expected
    inside = torch.tensor([expected * (1 - 2**-8)])  # bfloat16's last value below the edge
    outside = torch.tensor([expected * (1 + 2**-6)])  # an even one beyond it, to which a tie would go back
    for weight, moves in ((inside, True), (outside, False)):
        after = weight + step
        store([after], "bfloat16")
        assert bool(after != weight) is moves


@pytest.mark.parametrize(("half_width", "expected"), [(0.019, 2**-14), (2.0**-6, 2**-15), (0.045, 2**-13)])
def test_the_step_at_which_the_edge_passes(half_width, expected):
    # 0.019 lies between 2^-6 and 2^-5: the edge must be 2^-5, so that 256 s > 2^-6.
    assert passing_step(half_width) == expected
    assert edge(expected * 1.01) >= half_width > edge(expected * 0.99)


def rule_on(shares, *looks):
    """A stop rule that reads its scores off `looks`: what the target has, and one entry for every measurement."""
    values = iter(looks)
    return StopRule(StopAt(**shares), lambda score: next(values))


def test_a_run_stops_when_it_has_forgotten_enough():
    rule = rule_on({"knowmem_forget": 0.5}, 80.0, 70.0, 41.0, 40.0, 40.0)
    assert next(step for step in range(1, 40) if rule(step)) == 30
    assert rule.seen == [
        {"step": step, "knowmem_forget": value} for step, value in ((10, 70.0), (20, 41.0), (30, 40.0))
    ]
    ended = rule.ended()
    assert (ended["stopped_by"], ended["shares"], ended["unmet"]) == ("stop_at", {"knowmem_forget": 0.5}, [])


def test_a_run_goes_on_while_utility_is_below_its_floor(capsys):
    shares = {"knowmem_retain": 0.8, "knowmem_forget": 0.25}  # the order in a config does not matter
    rule = rule_on(shares, 100.0, 90.0, 30.0, 20.0, 71.0, 24.0, 72.0, 24.0, 72.0)
    # Step 10 has not forgotten enough, so that utility is not asked; step 20 has, with 71 of the 72 points it needs.
    assert [rule(step) for step in (10, 20, 30)] == [False, False, True]
    assert [set(look) - {"step"} for look in rule.seen] == [{"knowmem_forget"}, set(shares), set(shares)]
    assert rule.ended()["stopped_by"] == "stop_at"
    assert capsys.readouterr().out.splitlines() == [
        "step 10: knowmem_forget 30.0 of 100.0: goes on",
        "step 20: knowmem_forget 20.0 of 100.0, knowmem_retain 71.0 of 90.0: goes on",
        "step 30: knowmem_forget 24.0 of 100.0, knowmem_retain 72.0 of 90.0: stops here",
    ]


def test_a_rule_that_is_not_met_names_what_was_missed():
    rule = rule_on({"knowmem_forget": 0.25, "knowmem_retain": 0.8}, 80.0, 100.0, 60.0, 40.0, 79.0)
    assert not any(rule(step) for step in range(1, 20))
    ended = rule.ended()
    assert ended["stopped_by"] == "steps" and ended["unmet"] == ["knowmem_forget", "knowmem_retain"]
    assert ended["shares"] == {"knowmem_forget": 0.5, "knowmem_retain": 0.79}


def test_without_a_rule_steps_end_the_run():
    rule = StopRule(None, lambda score: pytest.fail("there is nothing to measure"))
    assert not any(rule(step) for step in range(1, 1000))
    assert rule.ended() == {"stopped_by": "steps", "shares": {}, "unmet": [], "looks": []}


def test_long_runs_are_looked_at_every_tenth_of_their_length():
    rule = StopRule(StopAt(knowmem_forget=0.5), lambda score: 1.0)
    assert not any(rule(step) for step in range(1, 1001))
    looks = [look["step"] for look in rule.seen]
    assert looks[:11] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110]
    assert all(after - before <= max(10, after / 10) for before, after in pairwise(looks))


def test_kahan_adds_up_steps_that_rounding_alone_would_lose():
    # Around 1 half a spacing of bfloat16 is 2^-8 upwards: a step of 2^-10 is lost every time by rounding to nearest.
    bits, step = RandomBits(0), 2**-10
    plain, kahan = torch.tensor([1.0]), torch.tensor([1.0])
    roundings = Rounding([plain], "bfloat16", bits), Rounding([kahan], "bfloat16_kahan", bits)
    seen = []
    for _ in range(8):
        for weight, rounding in zip((plain, kahan), roundings, strict=True):
            weight += step
            rounding()
        seen.append(kahan.item())
    assert plain.item() == 1.0
    # Four steps are 2^-8, a tie that goes to the even 1. The fifth rounds up, which is three steps too many.
    assert seen == [1.0] * 4 + [1 + 2**-7] * 4
    assert roundings[1].lost[0].item() == 0.0  # 8 steps of 2^-10 are 2^-7, all of it paid


def test_kahan_follows_float32_to_half_a_spacing():
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(1000, generator=generator).bfloat16().float()
    kahan = exact.clone()
    rounding = Rounding([kahan], "bfloat16_kahan", RandomBits(0))
    for _ in range(100):
        step = 1e-4 * torch.randn(1000, generator=generator)
        exact += step
        kahan += step
        rounding()
    assert torch.equal(kahan, kahan.bfloat16().float())
    assert ((kahan - exact).abs() <= 2**-8 * exact.abs() + 1e-6).all()


def test_sign_descent_moves_every_weight_by_the_rate():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    weight.grad = torch.tensor([0.3, -1e-9, 0.0])
    optimizer = optimizer_of([weight], method_settings("ga", optimizer="sign", lr=0.25))
    optimizer.step()
    assert weight.tolist() == [0.75, 2.25, 3.0]
    assert states(optimizer) == []
