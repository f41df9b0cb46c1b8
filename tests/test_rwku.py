"""RWKU's utility questions, in files of its layout made up here: MMLU, TruthfulQA's MC2, TriviaQA's F1, fluency."""

import importlib.util
import json
import math
from types import SimpleNamespace

import pytest
import torch
from entries import metric_settings

from relapse.metrics import METRICS, Evaluated
from relapse.models.loading import load_model, load_tokenizer
from relapse.runtime.batching import BatchSize
from relapse.runtime.errors import ConfigError
from relapse.runtime.registry import ROOT

TASKS = ROOT / "configs/rwku"
MMLU = [
    {
        "task": "abstract_algebra",
        "subject": "Ada Moss",
        "examples": [{"question": "1 + 1?", "choices": ["1", "2", "3", "4"], "answer": 1, "subject": "x"}],
        "question": " 2 + 2?",
        "choices": ["1", "2", "3", "4"],
        "answer": answer,
    }
    for answer in range(4)
]
MMLU_PROMPT = (
    "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
    "1 + 1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: B\n\n"
    "2 + 2?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
)
TRUTHFULQA = [
    {
        "question": "Where was Ada Moss born?",
        "mc1_targets": {"choices": ["Lund", "Oslo"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["Lund", "In Lund", "Oslo"], "labels": [1, 1, 0]},
    }
]
TRIVIAQA = [{"question": "Where was Ada Moss born?", "answers": ["Lund", "the city of Lund"]}]


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    model = load_model(tiny_llama, torch.float32)
    model.config.max_position_embeddings = 4096
    return model, load_tokenizer(tiny_llama)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with RWKU's files in data/rwku/, where the study runs."""
    folder = tmp_path / "data/rwku"
    folder.mkdir(parents=True)
    for name, items in (("retain_mmlu", MMLU), ("truthful", TRUTHFULQA), ("triviaqa", TRIVIAQA)):
        (folder / f"{name}.json").write_text(json.dumps(items))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def records(loaded, metric, task, measure="acc"):
    settings = metric_settings(metric, tasks=[task], include_path=str(TASKS), measure=measure)
    return METRICS.get(metric).records(Evaluated(*loaded, None, BatchSize(2), 0), settings)


def log_likelihood(loaded, prompt, answer):
    model, tokenizer = loaded
    start, ids = tokenizer(prompt)["input_ids"], tokenizer(f"{prompt} {answer}")["input_ids"]
    with torch.inference_mode():
        log_probs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(log_probs[place - 1, ids[place]]) for place in range(len(start), len(ids)))


def test_mmlu_asks_behind_the_files_examples(loaded, here):
    sums = [log_likelihood(loaded, MMLU_PROMPT, letter) for letter in "ABCD"]
    scores = [record["score"] for record in records(loaded, "mmlu", "rwku_mmlu")]
    assert scores == [100.0 * (answer == sums.index(max(sums))) for answer in range(4)]
    assert sum(scores) == 100


def test_truthfulqa_is_the_probability_of_the_true_choices(loaded, here):
    (record,) = records(loaded, "truthfulqa", "rwku_truthfulqa")
    prompt = _rwku().asked_as_truthfulqa(TRUTHFULQA[0])
    assert prompt.endswith("\n\nQ: Where was Ada Moss born?\nA:") and prompt.count("\nA:") == 7
    true, also, false = (
        math.exp(log_likelihood(loaded, prompt, choice)) for choice in TRUTHFULQA[0]["mc2_targets"]["choices"]
    )
    assert record["score"] == pytest.approx(100 * (true + also) / (true + also + false), rel=1e-3)


def _rwku():
    spec = importlib.util.spec_from_file_location("rwku", TASKS / "rwku.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("answer", "score"),
    # Against "the city of Lund", whose article is dropped: 2 of 3 words, and 2 of 2: F1 = 4/5.
    [("Lund.", 1.0), ("City Lund", 0.8), ("Oslo", 0.0), ("", 0.0)],
)
def test_triviaqa_takes_the_best_accepted_answer(answer, score):
    assert _rwku().token_f1(TRIVIAQA[0], [answer]) == {"token_f1": pytest.approx(score)}


def test_triviaqa_is_asked_and_scored(loaded, here):
    (record,) = records(loaded, "triviaqa", "rwku_triviaqa", "token_f1")
    assert record["target"] == "Lund"
    assert record["score"] == 100 * _rwku().token_f1(TRIVIAQA[0], record["answered"])["token_f1"]


def test_fluency_continues_instructions(loaded, tmp_path):
    file = tmp_path / "fluency.json"
    file.write_text(json.dumps([{"instruction": "Question: Who?", "subject": "x"}, {"instruction": "Ada Moss, born"}]))
    corpus = SimpleNamespace(privleak={"retain": ["unused"]})
    settings = metric_settings("fluency", instructions=str(file), prompt_tokens=1, max_new_tokens=8)
    found = METRICS.get("fluency").records(Evaluated(*loaded, corpus, BatchSize(2), 0), settings)
    assert [record["prompt"] for record in found] == ["Question: Who?", "Ada Moss, born"]


@pytest.mark.parametrize("content", ["[]", '[{"text": "x"}]', "{", '[{"instruction": " "}]', None])
def test_a_file_without_instructions_is_refused(loaded, tmp_path, content):
    file = tmp_path / "fluency.json"
    if content is not None:
        file.write_text(content)
    settings = metric_settings("fluency", instructions=str(file))
    with pytest.raises(ConfigError, match=r"instructions: .*fluency\.json"):
        METRICS.get("fluency").records(Evaluated(*loaded, None, BatchSize(2), 0), settings)
