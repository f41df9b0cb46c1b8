"""KnowMem and VerbMem of a loaded model: what it is asked, and what counts as its answer."""

from types import SimpleNamespace

import pytest
from entries import metric_settings, training_settings

from relapse.metrics import METRICS, Evaluated
from relapse.metrics.generation import generate
from relapse.metrics.knowmem import ENDS
from relapse.models.loading import load_model, load_tokenizer
from relapse.runtime.batching import BatchSize
from relapse.text.prompts import as_prompt, as_text
from relapse.training.fine_tuning import train
from scripts.unlearn import measure

SHOTS = [{"question": "Where was Ada Moss born?", "answer": "Lund"}]
ASKED = [{"question": "What does Ivo Brandt do?", "answer": "He is a pilot."}, {"question": "Who?", "answer": "Ada"}]
BEFORE = "Question: Where was Ada Moss born?\nAnswer: Lund\n\nQuestion: "


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    """The tiny Llama with its tokenizer."""
    return load_model(tiny_llama), load_tokenizer(tiny_llama)


def records(loaded, corpus, name, **settings):
    metric = METRICS.get(name)
    run = Evaluated(*loaded, corpus, BatchSize(4), 0)
    return metric.records(run, metric_settings(name, **settings))


def pairs(split="forget"):
    return SimpleNamespace(knowmem={split: ASKED, f"{split}_icl": SHOTS})


def test_what_stands_behind_the_last_answer(loaded):
    """MUSE's prompts end in a space, which the model would else write itself."""
    found = {}
    for settings, end in ({}, "Answer:"), ({"prompt_ending": "space"}, "Answer: "):
        asked = [f"{BEFORE}What does Ivo Brandt do?\n{end}", f"{BEFORE}Who?\n{end}"]
        answers = [
            record["generated"] for record in records(loaded, pairs(), "knowmem_forget", max_new_tokens=6, **settings)
        ]
        assert answers == [text.strip() for text in generate(*loaded, asked, 6, BatchSize(4), ENDS)]
        found[end] = answers
    assert found["Answer:"] != found["Answer: "]


@pytest.mark.parametrize("split", ["forget", "retain"])
def test_a_run_that_stops_once_it_has_forgotten_asks_as_the_metric_does(loaded, split):
    """The stop rule's look is the metric's own, with its settings."""
    seen, forward = [], loaded[0].forward

    def heard(input_ids, **named):
        seen.append(loaded[1].decode(input_ids[0]))
        return forward(input_ids=input_ids, **named)

    loaded[0].forward = heard
    try:
        run = Evaluated(*loaded, pairs(split), BatchSize(1), 0)
        measure(run, f"knowmem_{split}", metric_settings(f"knowmem_{split}", max_new_tokens=1, prompt_ending="space"))
    finally:
        loaded[0].forward = forward
    assert len(seen) == 3  # the common beginning, then the rest of each prompt
    assert all(text.endswith("\nAnswer: ") for text in seen[1:])


def test_sampling_draws_from_the_fifty_likeliest_unless_told_otherwise(loaded):
    """As the paper's code does, where 50 is what transformers takes; one alone is the greedy text."""
    corpus = SimpleNamespace(verbmem=[{"prompt": "Ada Moss, born", "gt": "in Lund"}, {"prompt": "She", "gt": "works"}])

    def texts(name, **settings):
        return [record["generated"] for record in records(loaded, corpus, name, max_new_tokens=20, **settings)]

    sampled = texts("verbmem_forget_sampled")
    assert sampled == texts("verbmem_forget_sampled", top_k=50) == texts("verbmem_forget", decoding="sample")
    assert sampled != texts("verbmem_forget_sampled", top_k=0)
    assert texts("verbmem_forget_sampled", top_k=1) == texts("verbmem_forget")


def test_top_p_is_a_number_or_the_models_own(loaded):
    corpus = SimpleNamespace(verbmem=[{"prompt": "Ada Moss, born", "gt": "in Lund"}])
    own = loaded[0].generation_config

    def text(top_p):
        (record,) = records(loaded, corpus, "verbmem_forget_sampled", max_new_tokens=20, top_p=top_p)
        return record["generated"]

    before = own.top_p
    try:
        for value, same in ((None, 1.0), (1.0, 1.0), (1e-6, 1e-6)):
            own.top_p = value
            assert text("model") == text(same)
    finally:
        own.top_p = before
    (greedy,) = records(loaded, corpus, "verbmem_forget", max_new_tokens=20)
    assert text(1e-6) == greedy["generated"] != text(1.0)


@pytest.mark.parametrize(("bos", "kept"), [(False, "one two three"), (True, "one two")])
def test_a_truth_may_have_bos_among_its_tokens(loaded, bos, kept):
    """Three tokens of a truth, words and BOS being one token each, as MUSE cuts it."""

    class Words:
        def __call__(self, text, add_special_tokens=True):
            return {"input_ids": ["<s>"] * add_special_tokens + text.split()}

        def decode(self, ids, skip_special_tokens):
            return " ".join(token for token in ids if token != "<s>")

    run = Evaluated(loaded[0], Words(), SimpleNamespace(verbmem=[{"gt": "one two three four"}]), BatchSize(1), 0)
    settings = METRICS.settings({"max_new_tokens": 3, "truth_bos": bos}, "verbmem_forget")
    assert METRICS.get("verbmem_forget")._truths(run, settings) == [kept]


def test_a_model_that_knows_every_answer_scores_100_though_its_text_goes_on(tiny_llama):
    """Trained on pairs as TOFU's are joined; only `until` ends its answers, since no end of sequence stands there."""
    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)
    known = [{"question": "Who is Ada?", "answer": "She is a chemist."}, {"question": "Is Ivo?", "answer": "He is."}]
    settings = training_settings(steps=60, batch_size=1, max_length=96, lr=5e-3, weight_decay=0.0)
    train(model, tokenizer, [as_text(pair) for pair in known * 2], settings, 0, lambda step, loss: None)
    corpus = SimpleNamespace(verbmem=[{"prompt": as_prompt(pair), "gt": pair["answer"]} for pair in known])

    def scored(**settings):
        return records((model.eval(), tokenizer), corpus, "verbmem_forget", max_new_tokens=28, **settings)

    assert [record["generated"] for record in scored(until="\n\n")] == [" She is a chemist.", " He is."]
    assert [record["score"] for record in scored(until="\n\n")] == [100, 100]
    for plain, pair in zip(scored(), known, strict=True):
        assert plain["generated"].startswith(f" {pair['answer']}\n\nQuestion:")
        assert plain["truth"] == pair["answer"] and plain["score"] < 60


def test_the_truth_ends_where_a_continuation_does(loaded):
    corpus = SimpleNamespace(verbmem=[{"prompt": "Ada Moss,", "gt": "born in Lund\n\nin 1961"}])
    (whole,), (cut,) = (records(loaded, corpus, "verbmem_forget", until=until) for until in ("", "\n\n"))
    assert whole["truth"] == "born in Lund\n\nin 1961" and cut["truth"] == "born in Lund"
