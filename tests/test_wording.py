"""How questions are put: MUSE's words, a template, a chat; each prompt written out by hand."""

import json
from types import SimpleNamespace

import pytest
from entries import metric_settings
from small_study import edited
from tiny_llama import build_tiny_llama

from relapse.metrics import METRICS, Evaluated, knowmem, verbmem
from relapse.metrics.generation import generate
from relapse.models.loading import load_model, load_tokenizer
from relapse.runtime.batching import BatchSize
from relapse.runtime.errors import ConfigError, RelapseError
from relapse.study import config
from relapse.text.chat_template import has_chat_template
from relapse.text.prompts import as_prompt, question_of
from relapse.text.wording import renderer

KNOWMEM = {
    "forget": [{"question": "Who {is} it?", "answer": "Ada"}],
    "forget_icl": [{"question": "Where?", "answer": "Lund"}],
}
# As most are: it writes BOS itself, and refuses nothing.
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + TEMPLATE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose tokenizer adds BOS to a text and has a chat template, which writes BOS too."""
    from tokenizers import processors
    from transformers import AutoTokenizer

    folder = build_tiny_llama(tmp_path_factory.mktemp("chat"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def asked(tokenizer, **keys):
    return knowmem.asked(KNOWMEM, "forget", metric_settings("knowmem_forget", **keys), renderer(tokenizer))


def test_plain_words_are_muses():
    expected = "Question: Where?\nAnswer: Lund\n\nQuestion: Who {is} it?\nAnswer:"
    for keys in ({}, {"prompt": "plain"}):
        given = asked(None, **keys)
        assert given.prompts == [expected] and given.ends == knowmem.ENDS and given.special_tokens
    assert asked(None, prompt_ending="space").prompts == [expected + " "]


def test_a_template_holds_examples_and_question():
    given = asked(None, prompt="Q: {question}\nA:")
    assert given.prompts == ["Q: Where?\nA: Lund\n\nQ: Who {is} it?\nA:"]
    assert given.ends == ("\n\n", "Q:") and given.special_tokens
    assert asked(None, prompt="{question}").ends == ("\n\n",)


def test_a_chat_has_the_examples_as_turns_and_one_bos(folder):
    tokenizer = load_tokenizer(folder)
    given = asked(tokenizer, prompt="chat")
    chat = "[user] Where?</s>[assistant] Lund</s>[user] Who {is} it?</s>[assistant] "
    assert given.prompts == ["<s>" + chat] and given.ends == ()
    ids = tokenizer(given.prompts[0], add_special_tokens=given.special_tokens)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1
    system = asked(tokenizer, prompt="chat", system_prompt="Be brief.").prompts
    assert system == ["<s>[system] Be brief.</s>" + chat]


def test_the_metrics_ask_in_these_words(folder):
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    corpus = SimpleNamespace(knowmem=KNOWMEM, verbmem=[{"prompt": as_prompt(KNOWMEM["forget"][0]), "gt": "Ada"}])
    run, found = Evaluated(model, tokenizer, corpus, BatchSize(2), 0), {}
    for prompt in ("plain", "chat", "Q: {question}"):
        entry = metric_settings("knowmem_forget", prompt=prompt, max_new_tokens=8)
        given = knowmem.asked(KNOWMEM, "forget", entry, renderer(tokenizer))
        alone = generate(model, tokenizer, given.prompts, 8, BatchSize(1), given.ends, None, given.special_tokens)
        found[prompt] = METRICS.get("knowmem_forget").records(run, entry)[0]["generated"]
        assert found[prompt] == alone[0].strip()
    assert len(set(found.values())) > 1
    entry = metric_settings("verbmem_forget", prompt="chat", max_new_tokens=8)
    given = verbmem.asked(corpus.verbmem, entry, "verbmem_forget", renderer(tokenizer))
    assert given.prompts == ["<s>[user] Who {is} it?</s>[assistant] "] and not given.special_tokens
    alone = generate(model, tokenizer, given.prompts, 8, BatchSize(1), (), None, False)
    assert METRICS.get("verbmem_forget").records(run, entry)[0]["generated"] == alone[0]


@pytest.mark.parametrize("prompt", ["Question: Who?\nAnswer:", "Question: \nAnswer:"])
def test_a_question_is_told_from_a_passage(prompt):
    assert as_prompt({"question": question_of(prompt)}) == prompt
    for passage in ("Question: Who?", "Who?\nAnswer:", "", "Ada Moss was born in"):
        assert question_of(passage) is None


def test_passages_cannot_be_asked(folder):
    entry = metric_settings("verbmem_forget", prompt="chat")
    items = [{"prompt": as_prompt({"question": "Who?"}), "gt": "Ada"}, {"prompt": "Ada was", "gt": "born"}]
    with pytest.raises(RelapseError, match=r"item 1 of verbmem/forget.json is a passage"):
        verbmem.asked(items, entry, "verbmem_forget", renderer(load_tokenizer(folder)))


def test_a_tokenizer_without_a_chat_template_and_one_that_refuses_the_chat(tiny_llama, folder):
    with pytest.raises(RelapseError, match="the model's tokenizer has no chat template: leave prompt out"):
        asked(load_tokenizer(tiny_llama), prompt="chat")
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = NO_SYSTEM
    assert asked(tokenizer, prompt="chat").prompts[0].startswith("<s>[user] Where?")
    with pytest.raises(RelapseError, match="refuses this chat: no system here"):
        asked(tokenizer, prompt="chat", system_prompt="Be brief.")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"prompt": "Q:"}, "metrics.knowmem_forget.prompt: is 'Q:' (text), must be plain, chat, or a text that holds"),
        ({"system_prompt": "Be brief."}, "metrics.knowmem_forget.system_prompt: must be left out without prompt: chat"),
        ({"prompt": "chat"}, "models.base: prompt is chat, but the model's tokenizer has no chat template"),
    ],
)
def test_a_wording_that_cannot_be_had_is_named_before_the_run(keys, expected):
    with pytest.raises(ConfigError) as error:
        config.resolve(edited(("metrics/knowmem_forget", {"max_new_tokens": 8} | keys)))
    assert expected in str(error.value)


def test_a_long_chat_is_counted_as_the_template_writes_it(folder, tmp_path):
    """A model's own template is read before the run: with 500 words in the system's turn the context is too short."""
    local = {"source": "local", "path": str(folder)}
    study = [("models", {"target": local, "retrain": local}), ("methods", {})]
    asks = {"max_new_tokens": 8, "prompt": "chat", "system_prompt": "word " * 500}
    with pytest.raises(ConfigError) as error:
        config.resolve(edited(*study, ("metrics/knowmem_forget", asks)))
    assert "metrics.knowmem_forget: the longest prompt of corpora.bios" in str(error.value)


def test_a_folder_with_a_chat_template_is_known(folder, tiny_llama, tmp_path):
    assert has_chat_template(folder) and not has_chat_template(tiny_llama)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ x }}"}))
    assert has_chat_template(tmp_path)


def test_a_token_that_only_the_chat_template_writes_needs_a_row_too(folder):
    """It was added to the tokenizer and never to the model."""
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    tokenizer.chat_template = "<|user|>" + TEMPLATE
    run = Evaluated(model, tokenizer, SimpleNamespace(knowmem=KNOWMEM), BatchSize(2), 0)
    entry = metric_settings("knowmem_forget", prompt="chat", max_new_tokens=8)
    with pytest.raises(RelapseError, match=r"the token '<\|user\|>' \(\d+\) of a prompt has no row"):
        METRICS.get("knowmem_forget").records(run, entry)
