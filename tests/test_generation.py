"""Batched generation gives the tokens of transformers' own one-at-a-time generation."""

import pytest
import torch

from relapse.metrics.generation import Sampling, _choose, common_prefix, generate
from relapse.models.loading import load_model, load_tokenizer
from relapse.runtime.batching import BatchSize
from relapse.runtime.errors import RelapseError

SHOTS = "Question: Where was Ada Moss born?\nAnswer: Lund\n\n"
PROMPTS = [
    f"{SHOTS}Question: What does Ivo do?\nAnswer:",
    f"{SHOTS}Question: Who?\nAnswer:",
    f"{SHOTS}Question: Where does the chemist work, and what does she collect?\nAnswer:",
]


@pytest.fixture(scope="module")
def model(tiny_llama):
    return load_model(tiny_llama)


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    return load_tokenizer(tiny_llama)


def one_at_a_time(model, tokenizer, prompt, new):
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, pad_token_id=0)
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("prompts", [PROMPTS, ["Ada Moss, born", "Ivo", "She works for"], ["Ada"]])
def test_same_text_as_one_at_a_time(model, tokenizer, prompts, batch_size):
    expected = [one_at_a_time(model, tokenizer, prompt, 12) for prompt in prompts]
    assert generate(model, tokenizer, prompts, 12, BatchSize(batch_size)) == expected


def test_common_prefix_leaves_every_prompt_a_token():
    assert common_prefix([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert common_prefix([[1, 2], [1, 2, 4]]) == 1
    assert common_prefix([[1], [2]]) == 0
    assert common_prefix([[7, 8, 9]]) == 2


@pytest.mark.parametrize("top_k", [0, 5])
def test_sampling_does_not_depend_on_the_batch(model, tokenizer, top_k):
    sampling = Sampling(temperature=0.9, seed=3, top_k=top_k)
    texts = [generate(model, tokenizer, PROMPTS, 12, BatchSize(size), sampling=sampling) for size in (1, 2, 3)]
    assert texts[0] == texts[1] == texts[2]
    assert texts[0] != generate(model, tokenizer, PROMPTS, 12, BatchSize(3), sampling=Sampling(0.9, 4, top_k))


def test_top_p_draws_from_the_fewest_likeliest_tokens():
    # Probabilities 0.5, 0.3, 0.15, 0.05: 0.8 takes the first two, 0.81 the first three, 0.01 the first alone.
    logits = torch.tensor([[0.3, 0.5, 0.05, 0.15]]).log().repeat(400, 1)
    for top_p, drawn in ((0.8, {0, 1}), (0.81, {0, 1, 3}), (0.01, {1}), (1.0, {0, 1, 2, 3})):
        generators = [torch.Generator().manual_seed(number) for number in range(400)]
        assert set(_choose(logits, Sampling(1.0, 0, top_p=top_p), generators).tolist()) == drawn, top_p


def test_sampling_follows_the_distribution(model, tokenizer):
    ids = tokenizer("Ada", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        probabilities = (model(ids).logits[0, -1].float() / 0.5).softmax(-1)
    likeliest = int(probabilities.argmax())
    draws = generate(model, tokenizer, ["Ada"] * 400, 1, BatchSize(400), sampling=Sampling(0.5, seed=0))
    share = draws.count(tokenizer.decode([likeliest])) / 400
    expected = probabilities[likeliest].item()
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 400) ** 0.5


def test_the_likeliest_token_alone_is_greedy(model, tokenizer):
    sampled = generate(model, tokenizer, PROMPTS, 12, BatchSize(3), sampling=Sampling(5.0, seed=0, top_k=1))
    assert sampled == generate(model, tokenizer, PROMPTS, 12, BatchSize(3))


def test_only_the_largest_are_drawn_each_as_likely_as_before():
    """Logits 0, 1, 2 and 3 at temperature 1: of the two largest, 3 is drawn with probability e / (1 + e) = 0.731."""
    logits = torch.tensor([[1.0, 3.0, 0.0, 2.0]]).expand(2000, 4)
    generators = [torch.Generator().manual_seed(seed) for seed in range(2000)]
    shares = _choose(logits, Sampling(1.0, 0, top_k=2), generators).bincount(minlength=4) / 2000
    assert shares[0] == shares[2] == 0 and shares[1].item() == pytest.approx(0.731, abs=0.04)
    many = _choose(logits, Sampling(1.0, 0, top_k=50), generators)  # more than there are: all
    assert set(many.tolist()) == {0, 1, 2, 3}


def test_generation_stops_when_every_answer_has_ended(model, tokenizer):
    """Each text ends before its own third character, so that a few of the twelve tokens are enough for all."""
    whole = generate(model, tokenizer, PROMPTS, 12, BatchSize(3))
    ends = [text[2] for text in whole]
    steps, forward = [], model.forward

    def counted(**named):
        steps.append(1)
        return forward(**named)

    model.forward = counted
    try:
        texts = generate(model, tokenizer, PROMPTS, 12, BatchSize(3), ends)
    finally:
        model.forward = forward
    assert texts == [text[: min(text.index(end) for end in ends if end in text)] for text in whole]
    assert len(steps) < 12  # the common beginning's pass among them


def test_a_prompt_longer_than_the_context_is_refused(model, tokenizer):
    with pytest.raises(RelapseError, match=r"max_position_embeddings.* is 512"):
        generate(model, tokenizer, ["Ada Moss " * 400], 4, BatchSize(1))


def test_a_broken_model_is_refused(tiny_llama, tokenizer):
    broken = load_model(tiny_llama)
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    with pytest.raises(RelapseError, match="non-finite"):
        generate(broken, tokenizer, ["Ada"], 2, BatchSize(1))


def test_a_batch_that_does_not_fit_goes_in_halves(model, tokenizer, capsys):
    """Memory for two prompts at a time: four, then two, then for good two; the text is the same."""
    expected = generate(model, tokenizer, PROMPTS * 2, 6, BatchSize(1))
    forward, size = model.forward, BatchSize(4)

    def with_little_memory(input_ids, **named):
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("no memory for so many prompts")
        return forward(input_ids=input_ids, **named)

    model.forward = with_little_memory
    try:
        assert generate(model, tokenizer, PROMPTS * 2, 6, size) == expected
    finally:
        model.forward = forward
    assert size.size == 2 and capsys.readouterr().out.count("out of memory") == 1


def test_one_that_does_not_fit_alone_says_what_takes_less(model, tokenizer):
    def without_memory(*inputs, **named):
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(RelapseError, match=r"out of memory with one example at a time.*compute: bfloat16"):
        BatchSize(4).run([1, 2, 3], without_memory)
