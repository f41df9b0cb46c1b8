"""SURE's saliency and masks against values worked out by hand, and what a mask lets move."""

import random

import pytest
import torch
from entries import method_settings

from relapse.models.loading import linear_layers, load_model, load_tokenizer
from relapse.runtime.errors import RelapseError
from relapse.text.windows import windows
from relapse.unlearning import saliency
from relapse.unlearning.methods import METHODS
from relapse.unlearning.reference import Reference
from relapse.unlearning.step import add_to_gradients, backward, target_saliency
from relapse.unlearning.trainer import unlearn


def run(folder, **settings):
    """Unlearned and original model, and the trainer's report of the run."""
    tokenizer = load_tokenizer(folder)
    forget, retain = (
        windows(tokenizer, texts, 24, random.Random(0))
        for texts in (["Ada Moss is a chemist born in Lund."] * 4, ["Ivo Brandt is a pilot who collects stamps."] * 4)
    )
    method = METHODS.get("npo_klr_sure")
    before, model = load_model(folder), load_model(folder)
    settings = method_settings(method.name, **{"storage": "float32"} | settings)
    done = unlearn(model, forget, retain, method, settings, 0, lambda *step: None)
    return before, model, done


def moved(before, after) -> set[str]:
    """Names of the parameters in which any value differs."""
    old = dict(before.named_parameters())
    return {name for name, value in after.named_parameters() if not torch.equal(value, old[name])}


def test_module_saliency_is_the_norm_of_each_gradient():
    gradients = [torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([5.0, 12.0])]
    assert saliency.module_saliency(gradients).tolist() == [5.0, 13.0]


def test_saliency_of_many_parts_is_not_lost_in_bfloat16(tiny_llama):
    """1,000 equal parts have the gradient of one; a sum in bfloat16 stands still after 256 to 512 of them."""
    method = METHODS.get("ga_sure")
    settings = method_settings("ga_sure", micro_batch=1)
    window = load_tokenizer(tiny_llama)("Ada Moss is a chemist.")["input_ids"]
    scores = []
    for dtype, parts in ((torch.float32, 1), (torch.bfloat16, 1000)):
        model, forget = load_model(tiny_llama, dtype), [window] * parts
        scores.append(target_saliency(model, method, settings, Reference(model, forget, [], method, settings)))
    torch.testing.assert_close(scores[1], scores[0], rtol=0.05, atol=0)


def test_row_saliency_is_the_norm_of_each_row_and_of_a_vector_each_element():
    rows = saliency.row_saliency([torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([5.0, -12.0])])
    assert [part.tolist() for part in rows] == [[5.0, 2.0], [5.0, 12.0]]


@pytest.mark.parametrize(
    ("percentile", "expected"),
    # place 3 * 50 % = 1.5 between 2 and 4; place 3 * 90 % = 2.7 between 4 and 8.
    [(0, 1.0), (50, 3.0), (90, 4 + 0.7 * 4), (100, 8.0)],
)
def test_threshold_by_hand(percentile, expected):
    assert saliency.threshold(torch.tensor([4.0, 1.0, 8.0, 2.0]), percentile).item() == pytest.approx(expected)


def test_modules_at_or_above_the_percentile_are_kept():
    assert saliency.salient_modules(torch.tensor([4.0, 1.0, 8.0, 2.0]), 50) == [0, 2]
    assert saliency.salient_modules(torch.tensor([4.0, 1.0, 8.0, 2.0]), 100) == [2]
    assert saliency.salient_modules(torch.tensor([4.0, 1.0, 8.0, 2.0]), 0) == [0, 1, 2, 3]


def test_rows_below_the_percentile_of_all_rows_lose_their_gradient():
    forget = [torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[0.0, 2.0], [6.0, 8.0]])]  # norms 5, 1, 2, 10
    total = [torch.full((2, 2), 7.0), torch.full((2, 2), 9.0)]
    saliency.mask_rows(forget, total, 50)  # between 2 and 5: 3.5
    assert total[0].tolist() == [[7.0, 7.0], [0.0, 0.0]]
    assert total[1].tolist() == [[0.0, 0.0], [9.0, 9.0]]


def test_rows_are_scored_as_a_loop_over_rows_would():
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(shape, generator=generator) for shape in ((5, 3), (4, 7), (6,))]
    loop = [[row.norm().item() for row in g] for g in gradients]
    for part, expected in zip(saliency.row_saliency(gradients), loop, strict=True):
        assert part.tolist() == pytest.approx(expected)


def test_a_random_mask_has_as_many_modules_of_each_size():
    weights = {name: torch.zeros(shape) for name, shape in (("a", (2, 2)), ("b", (4, 1)), ("c", (1, 4)), ("d", (4, 2)))}
    seen = set()
    for seed in range(20):
        chosen = saliency.same_sizes(["a", "b", "d"], weights, torch.Generator().manual_seed(seed))
        assert chosen[2] == "d" and len(set(chosen)) == 3 and set(chosen[:2]) <= {"a", "b", "c"}
        seen.update(chosen)
    assert seen == set(weights)


@pytest.mark.parametrize("mask", ["paper", "random"])
def test_weights_outside_a_module_mask_stay_bit_identical(tiny_llama, mask):
    before, after, done = run(tiny_llama, mask=mask, percentile=80)
    linear = {f"{layer}.weight" for layer in linear_layers(before)}
    assert moved(before, after) == set(done["moving"])
    assert set(done["moving"]) < linear
    assert len(done["moving"]) == 3  # of 14: place 13 * 80 % = 10.4, so the modules above the eleventh


def test_paper_keeps_the_modules_with_the_largest_forget_gradient(tiny_llama):
    _, _, few = run(tiny_llama, percentile=90)
    _, _, more = run(tiny_llama, percentile=50)
    assert set(few["moving"]) < set(more["moving"])
    _, _, control = run(tiny_llama, percentile=90, mask="random")
    sizes = {name: weight.numel() for name, weight in load_model(tiny_llama).named_parameters()}
    assert sorted(sizes[name] for name in few["moving"]) == sorted(sizes[name] for name in control["moving"])


def test_all_modules_may_be_chosen_where_asked_for(tiny_llama):
    before, after, done = run(tiny_llama, modules="all", percentile=20)
    linear = {f"{layer}.weight" for layer in linear_layers(before)}
    assert set(done["moving"]) - linear and moved(before, after) == set(done["moving"])


def test_a_mask_without_a_quantized_weight_is_refused_with_its_key(tiny_llama):
    model = load_model(tiny_llama)
    settings = method_settings("ga_sure", mask="paper", modules="all", percentile=100)
    names = list(saliency.eligible(model, settings))
    scores = torch.tensor([1.0 if name == "lm_head.weight" else 0.0 for name in names])
    with pytest.raises(
        RelapseError, match=r"percentile: 100 with modules: all keeps lm_head.weight and no weight that"
    ):
        saliency.kept_modules(model, scores, settings, torch.Generator())


def test_row_mask_moves_no_other_tensor_and_not_every_row(tiny_llama):
    before, after, done = run(tiny_llama, mask="row", percentile=90, steps=1)
    linear = {f"{layer}.weight" for layer in linear_layers(before)}
    assert done["moving"] is None
    names = moved(before, after)
    assert names and names <= linear
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    rows = torch.cat([(old[name] != new[name]).any(dim=1) for name in linear])
    assert 0.09 < rows.float().mean() < 0.11  # the 10 % above the percentile, since one step has no momentum


def test_released_counts_the_forget_gradient_twice_and_masks_nothing():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    method = METHODS.get("npo_klr_sure")
    losses = (3 * weight[0] + weight[1], 5 * weight[1])  # gradients (3, 1) and (0, 5)
    backward(losses, [weight], method, method_settings(method.name, mask="released", alpha=10.0), 10.0, None)
    assert weight.grad.tolist() == [6.0, 52.0]


def test_row_gradient_is_forget_plus_alpha_retain_where_the_mask_lets_it_through():
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    method = METHODS.get("npo_klr_sure")
    losses = (3 * weight[0, 0] + weight[1, 0], 5 * weight.sum())  # forget's row norms 3 and 1
    forget_gradients = [torch.zeros(2, 2)]
    backward(losses, [weight], method, method_settings(method.name, mask="row", alpha=10.0), 10.0, forget_gradients)
    assert forget_gradients[0].tolist() == [[3.0, 0.0], [1.0, 0.0]]
    add_to_gradients([weight], forget_gradients)
    saliency.mask_rows(forget_gradients, [weight.grad], 100)
    assert weight.grad.tolist() == [[53.0, 50.0], [0.0, 0.0]]
