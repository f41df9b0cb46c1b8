"""Utility: world facts and fluency against hand-made values, and lm-evaluation-harness on local tasks, offline."""

import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from entries import metric_settings
from hub_server import REVISION, Hub

from relapse.corpora.corpus import Corpus
from relapse.metrics import METRICS, Evaluated
from relapse.metrics.fluency import fluency
from relapse.models.loading import load_model, load_tokenizer
from relapse.runtime.batching import BatchSize
from relapse.runtime.errors import RelapseError
from relapse.runtime.registry import ROOT

CHOICES = [
    {"question": "Where was Ada Moss born?", "choices": ["Lund", "Oslo", "Rome, in 1961"], "answer": 0},
    {"question": "What does Ivo Brandt do?", "choices": ["He is a pilot.", "stamps", "chess"], "answer": 1},
    {"question": "What does she collect?", "choices": ["coins", "stamps", "a"], "answer": 2},
    {"question": "Who is a chemist?", "choices": ["Ivo", "Ada Moss", "Arvo"], "answer": 1},
]
ASKED = [
    {"question": "Where was Ada Moss born?", "said": "Lund"},
    {"question": "What does Ivo Brandt do?", "said": "pilot"},
]
MULTIPLE_CHOICE = """
task: local_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/choice.json}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
GENERATED = """
task: local_answer
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/answer.json}}}}
test_split: test
output_type: generate_until
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: said
generation_kwargs: {{until: ["\\n"], max_gen_toks: 4, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    """The tiny Llama in float32 with its tokenizer."""
    return load_model(tiny_llama, torch.float32), load_tokenizer(tiny_llama)


def run(loaded, corpus=None, batch_size=4):
    return Evaluated(*loaded, corpus, BatchSize(batch_size), 0)


def log_likelihoods(loaded, question, choices):
    """log p(" choice" | question) of every choice, one at a time, token by token."""
    model, tokenizer = loaded
    context = tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
    sums = []
    for choice in choices:
        ids = context + tokenizer(f" {choice}", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            log_probs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        sums.append(sum(float(log_probs[place - 1, ids[place]]) for place in range(len(context), len(ids))))
    return sums


def continuation(loaded, prompt, tokens):
    """The model's greedy continuation, one token at a time without a cache."""
    model, tokenizer = loaded
    ids = tokenizer(prompt)["input_ids"]
    start = len(ids)
    with torch.inference_mode():
        for _ in range(tokens):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


def expected_accuracy(loaded):
    right = []
    for item in CHOICES:
        sums = log_likelihoods(loaded, item["question"], item["choices"])
        right.append(sums.index(max(sums)) == item["answer"])
    return right


# --- world facts ------------------------------------------------------------------------------------------------------


def test_world_facts_are_the_likeliest_choices(loaded):
    metric = METRICS.get("world_facts")
    records = metric.records(run(loaded, SimpleNamespace(world=CHOICES)), {})
    for record, item in zip(records, CHOICES, strict=True):
        sums = log_likelihoods(loaded, item["question"], item["choices"])
        assert record["chosen"] == item["choices"][sums.index(max(sums))]
        assert record["truth"] == item["choices"][item["answer"]]
        assert record["score"] == 100 * (record["chosen"] == record["truth"])
    right = expected_accuracy(loaded)
    assert metric.score(records, metric_settings("world_facts"), 50, None).value == pytest.approx(
        100 * sum(right) / len(right)
    )
    assert (
        metric.records(run(loaded, SimpleNamespace(world=CHOICES), batch_size=1), metric_settings("world_facts"))
        == records
    )


def test_a_choice_is_not_divided_by_its_tokens(loaded):
    """The long choice is likelier a token than the short one, and the short one is chosen."""
    question, choices = "What?", ["a", "a" * 40]
    sums = log_likelihoods(loaded, question, choices)
    assert sums[1] / len(loaded[1](" " + choices[1])["input_ids"]) > sums[0] and sums[0] > sums[1]
    world = [{"question": question, "choices": choices, "answer": 0}]
    (record,) = METRICS.get("world_facts").records(run(loaded, SimpleNamespace(world=world)), {})
    assert record["chosen"] == "a"


def test_world_facts_without_questions_say_what_to_set(loaded):
    with pytest.raises(RelapseError, match=r"utility/world\.json: set `world`"):
        METRICS.get("world_facts").records(run(loaded, SimpleNamespace(world=[])), {})


# --- fluency ----------------------------------------------------------------------------------------------------------


def test_fluency_by_hand():
    # Bigrams "a b" twice, "b a" once: H2 = 2/3 log2(3/2) + 1/3 log2 3. Trigrams "a b a", "b a b": H3 = 1 bit.
    h2 = 2 / 3 * math.log2(1.5) + 1 / 3 * math.log2(3)
    assert fluency("a b a\nb") == pytest.approx((2 / 3 * h2 + 4 / 3 * 1) / 2)
    # "A" and "a" are two words, so that no bigram stands twice: 3 bigrams, log2 3 bits; still two trigrams.
    assert fluency("A b a\nb") == pytest.approx((2 / 3 * math.log2(3) + 4 / 3 * 1) / 2)
    # Five different words: 4 bigrams, 2 bits; 3 trigrams, log2 3 bits.
    assert fluency("one two three four five") == pytest.approx((2 / 3 * 2 + 4 / 3 * math.log2(3)) / 2)
    assert fluency("again again again again") == fluency("word") == fluency("") == 0


def test_fluency_is_of_what_follows_the_beginning_of_retain_texts(loaded):
    metric = METRICS.get("fluency")
    texts = ["Ada Moss, born in Lund in 1961, is a chemist.", "She works for Arvo and collects stamps."]
    corpus = Corpus({}, [], {}, {"retain": texts}, privleak_groups={"retain": ["Ada Moss", "Ivo Brandt"]})
    settings = metric_settings("fluency", prompt_tokens=5, max_new_tokens=12)
    records = metric.records(run(loaded, corpus), settings)
    tokenizer = loaded[1]
    for record, text in zip(records, texts, strict=True):
        assert text.startswith(record["prompt"])
        assert len(tokenizer(record["prompt"], add_special_tokens=False)["input_ids"]) == 5
        assert record["generated"] == continuation(loaded, record["prompt"], 12)
        assert record["score"] == 100 * fluency(record["generated"])
    assert [record["group"] for record in records] == ["Ada Moss", "Ivo Brandt"]
    expected = sum(record["score"] for record in records) / 2
    assert metric.score(records, settings, 50, None).value == pytest.approx(expected)


# --- lm-evaluation-harness --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory, loaded):
    """A folder with a multiple-choice and a generating task over local data.

    The second question's truth is what the model answers, so that one answer is right whatever the weights are.
    """
    folder = tmp_path_factory.mktemp("tasks")
    said = continuation(loaded, f"Question: {ASKED[1]['question']}\nAnswer:", 4).split("\n")[0]
    (folder / "choice.json").write_text(json.dumps(CHOICES))
    (folder / "answer.json").write_text(json.dumps([ASKED[0], ASKED[1] | {"said": said}]))
    (folder / "choice.yaml").write_text(MULTIPLE_CHOICE.format(folder=folder))
    (folder / "answer.yaml").write_text(GENERATED.format(folder=folder))
    (folder / "fixed.yaml").write_text("include: choice.yaml\ntask: fixed\nnum_fewshot: 0\n")
    (folder / "long.yaml").write_text(f'include: choice.yaml\ntask: long\nfewshot_delimiter: "{"-" * 600}"\n')
    return folder


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """As with HF_HUB_OFFLINE=1 and HF_DATASETS_OFFLINE=1, which are read at import; and an empty cache."""
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def harness(name, **settings):
    metric = METRICS.get(name)
    return metric, metric_settings(name, **settings)


def test_the_harness_finds_the_likeliest_choice(loaded, folder):
    metric, settings = harness("mmlu", tasks=["local_choice"], include_path=str(folder))
    records = metric.records(run(loaded), settings)
    right = expected_accuracy(loaded)
    assert [record["score"] for record in records] == [100.0 * value for value in right]
    assert [record["id"] for record in records] == [f"local_choice/{number}" for number in range(4)]
    for record, item in zip(records, CHOICES, strict=True):
        sums = log_likelihoods(loaded, item["question"], item["choices"])
        assert record["answered"] == pytest.approx(sums, abs=1e-3)
    assert metric.score(records, settings, 50, None).value == pytest.approx(25 * sum(right))
    json.dumps(records)


def test_the_harness_generates_what_the_model_says(loaded, folder):
    metric, settings = harness("triviaqa", tasks=["local_answer"], include_path=str(folder))
    records = metric.records(run(loaded), settings)
    answers = [continuation(loaded, f"Question: {item['question']}\nAnswer:", 4).split("\n")[0] for item in ASKED]
    assert [record["answered"] for record in records] == [[answer] for answer in answers]
    assert [record["score"] for record in records] == [100.0 * (answers[0] == "Lund"), 100.0]


def test_few_shot_examples_and_limit(loaded, folder):
    metric, settings = harness("mmlu", tasks=["local_choice"], include_path=str(folder), num_fewshot=1, limit=2)
    few = metric.records(run(loaded), settings)
    plain = metric.records(run(loaded), settings.model_copy(update={"num_fewshot": "task"}))
    assert len(few) == len(plain) == 2
    assert few[0]["answered"] != pytest.approx(plain[0]["answered"], abs=1e-3)


def test_out_of_memory_halves_the_batch(loaded, folder, monkeypatch):
    """The model's forward pass runs out of memory, as a GPU does, whenever more than two examples are in it."""
    model, tokenizer = loaded
    sizes = []

    def small(module, arguments, keywords):
        ids = arguments[0] if arguments else keywords["input_ids"]
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.OutOfMemoryError("no room")

    metric, settings = harness("mmlu", tasks=["local_choice"], include_path=str(folder))
    expected = metric.records(run(loaded), settings)
    hook = model.register_forward_pre_hook(small, with_kwargs=True)
    try:
        evaluated = run((model, tokenizer), batch_size=8)
        records = metric.records(evaluated, settings)
    finally:
        hook.remove()
    assert evaluated.batch_size.size == 2 and max(sizes) == 8
    assert [record["score"] for record in records] == [record["score"] for record in expected]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mmlu", {"tasks": ["local_choise"]}, "no task 'local_choise'.* Did you mean 'local_choice'"),
        ("mmlu", {"include_path": "no/such"}, "include_path: no such folder: no/such"),
        ("mmlu", {"tasks": ["mmlu_anatomy"]}, "cannot load mmlu_anatomy: .*download the data first.* include_path"),
        ("mmlu", {"measure": "f1"}, "local_choice has no measure 'f1'; `measure` may be acc"),
        ("mmlu", {"num_fewshot": 3, "tasks": ["fixed"]}, "num_fewshot is 3, but fixed is fixed to no examples"),
        ("mmlu", {"num_fewshot": 3, "tasks": ["long"]}, "the longest prompt of long needs .* context is 512"),
    ],
)
def test_errors_say_what_to_do(loaded, folder, name, changes, message):
    metric, settings = harness(name, **({"tasks": ["local_choice"], "include_path": str(folder)} | changes))
    with pytest.raises(RelapseError, match=message):
        metric.records(run(loaded), settings)


def test_what_is_fetched_once_is_all_that_scoring_needs(tmp_path):
    """From a Hub on this machine; then the Hub is gone, and jobs have no network."""
    rows = "".join(json.dumps(item) + "\n" for item in CHOICES).encode()
    card = b"---\nconfigs:\n- config_name: easy\n  data_files:\n  - {split: test, path: easy.jsonl}\n---\n"
    hub = Hub({"README.md": card, "easy.jsonl": rows})
    served = MULTIPLE_CHOICE.format(folder=tmp_path).replace("dataset_path: json", "dataset_path: me/tiny")
    kwargs = f"dataset_kwargs: {{data_files: {{test: {tmp_path}/choice.json}}}}"
    assert kwargs in served
    pinned = f"dataset_name: easy\ndataset_kwargs: {{revision: {REVISION}}}"
    (tmp_path / "served.yaml").write_text(served.replace(kwargs, pinned))
    entries = {"mmlu": {"tasks": ["local_choice"], "include_path": str(tmp_path)}}
    command = [sys.executable, "-m", "scripts.fetch_tasks", "--metrics", json.dumps(entries)]

    def fetched(out, **more):
        environment = {"PATH": "/usr/bin:/bin", "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url} | more
        done = subprocess.run([*command, "--out", str(out)], cwd=ROOT, env=environment, capture_output=True, text=True)
        return done, out.read_text() if out.exists() else ""

    done, listed = fetched(tmp_path / "tasks.txt")
    assert done.returncode == 0 and listed == "mmlu local_choice 4\n", done.stderr
    hub.shutdown()
    done, listed = fetched(tmp_path / "again.txt", HF_HUB_OFFLINE="1")
    assert done.returncode == 0 and listed == "mmlu local_choice 4\n", done.stderr


def test_the_tokenizer_is_left_as_it_was(loaded, folder):
    tokenizer = loaded[1]
    before = (tokenizer.pad_token, tokenizer.padding_side, tokenizer.truncation_side)
    metric, settings = harness("mmlu", tasks=["local_choice"], include_path=str(folder), limit=1)
    metric.records(run(loaded), settings)
    assert (tokenizer.pad_token, tokenizer.padding_side, tokenizer.truncation_side) == before
