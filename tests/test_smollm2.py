"""The real package of configs/smollm2.yaml: fetched, converted, and trained for two steps on the real novels."""

import math
import random

import pytest
import torch
from entries import training_settings
from transformers import AutoModelForCausalLM, AutoTokenizer

from relapse.corpora import SOURCES
from relapse.models import package
from relapse.runtime.errors import RelapseError
from relapse.runtime.registry import ROOT
from relapse.study.config import load
from relapse.training.fine_tuning import train

pytestmark = pytest.mark.slow


def test_the_first_steps_of_the_study(tmp_path, monkeypatch):
    study = load(ROOT / "configs/smollm2.yaml")
    monkeypatch.chdir(tmp_path)
    try:
        folder = package.converted(study.models.base)
        corpus = SOURCES.get("austen").read(study.corpora["austen"])
    except RelapseError as error:
        if "cannot fetch" in str(error):
            pytest.skip(str(error))
        raise
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens([1, 2]) == [tokenizer.bos_token, tokenizer.eos_token]
    assert tokenizer("a")["input_ids"][0] != tokenizer.bos_token_id  # SmolLM2 puts no BOS before a text
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    losses = []
    settings = training_settings(steps=2, batch_size=1, max_length=128, lr=5.0e-5)
    texts = random.Random(0).sample(corpus.raw["forget"][:32], 4)
    train(model, tokenizer, texts, settings, 0, lambda step, loss: losses.append(loss))
    # A model of English is far from guessing among 49,152 tokens, at 10.8, and has not seen these names.
    assert len(losses) == 2 and all(1 < loss < 0.75 * math.log(49152) for loss in losses)
