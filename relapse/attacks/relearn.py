"""Relearning: k steps of fine-tuning on text that no question asks about, and then the questions.

On forget text about other people (`unasked`), or on retain text alone, so that what returns was not taught. Text that
holds a question, or a passage that is continued, is refused. A model that never saw the forget text gains by the
same training too: compare with retrain.
"""

import random
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from relapse.attacks import ATTACKS, Attack, Attacked, AttackSettings
from relapse.corpora.corpus import UNASKED, Corpus
from relapse.corpora.muse import raw_texts
from relapse.runtime.errors import ConfigError
from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Count, Positive
from relapse.text.words import words
from relapse.training.settings import TrainedModel

PARTS = {"unasked": UNASKED, "retain": "retain1"}  # text -> part of the raw text


class RelearnSettings(AttackSettings):
    """An entry of this attack."""

    text: Literal["unasked", "retain", "file"] = Field(
        "unasked",
        description="Text that the model is trained on: forget text that no question asks about (raw/unasked), the "
        "retain text (raw/retain1), or a file of the user's (path).",
    )
    path: str = Field("", description="With text: file, a .txt (one text), or a .json list of texts.")
    texts: Count | None = Field(None, description="n: how many texts, drawn with the seed. Left out: all.")
    steps: Count = Field(description="k: optimiser steps (AdamW, warm-up, then a cosine to zero).")
    batch_size: Count = Field(2, description="Windows in a step.")
    max_length: int = Field(512, ge=8, description="Tokens in a window, at most the model's context.")
    lr: Positive = Field(description="Peak learning rate.")


def texts_of(corpus: Corpus, settings: RelearnSettings) -> list[str]:
    """The texts that `settings` name. Raises ConfigError if there are none, or fewer than `texts`."""
    if settings.text == "file":
        path = Path(settings.path)
        if not settings.path or not path.is_file():
            raise ConfigError(f"path: {settings.path!r} is no file: text: file needs a .txt or a .json list of texts")
        found = raw_texts(path)
    else:
        found = corpus.raw.get(PARTS[settings.text], [])
        if not found:
            raise ConfigError(
                f"text: {settings.text}, but the corpus has no raw/{PARTS[settings.text]}.json or .txt: add it, use "
                "text: retain, or file with path"
            )
    if settings.texts and settings.texts > len(found):
        raise ConfigError(f"texts: is {settings.texts}, must be at most {len(found)}, the number of texts to train on")
    return found


def overlap(corpus: Corpus, texts: list[str]) -> str:
    """The first question, passage or scored text of the forget part that one of `texts` contains; '' if none does."""

    def plain(text: str) -> str:
        return f" {' '.join(words(text))} "

    asked = [item["question"] for item in corpus.knowmem["forget"]]
    asked += [f"{item['prompt']} {item['gt']}" for item in corpus.verbmem] + corpus.privleak["forget"]
    everything = "|".join(map(plain, texts))
    return next((text for text in asked if plain(text) in everything), "")


def training(settings: RelearnSettings) -> TrainedModel:
    """The entry of a model that is trained in this way."""
    keys = {key: getattr(settings, key) for key in ("steps", "batch_size", "max_length", "lr")}
    return TrainedModel(source="train", weight_decay=0.0, **keys)


class Relearn(Attack):
    """Fine-tuning in the number format that the model is loaded in."""

    name = "relearn"
    settings = RelearnSettings
    examples = ({"steps": 2, "lr": 1e-3, "max_length": 64}, {"text": "retain", "texts": 2, "steps": 1, "lr": 1e-3})

    def check(self, corpus: Corpus, settings: RelearnSettings) -> None:
        """Raise ConfigError if the text does not exist, or contains a question or passage of the metrics."""
        if held := overlap(corpus, texts_of(corpus, settings)):
            raise ConfigError(
                f"text: {settings.text} holds {held!r}, which the metrics ask: training on it would teach the answer. "
                "Leave such texts out"
            )

    def takes(self, shape: Any, settings: RelearnSettings, width: int, on_gpu: bool) -> tuple[float, float, int]:
        from relapse.planning import memory

        work = 6 * shape.parameters * settings.steps * settings.batch_size * settings.max_length
        return memory.training(shape, training(settings), width, on_gpu), work, 1

    def apply(self, attacked: Attacked, settings: RelearnSettings) -> None:
        """Train the model in place."""
        from relapse.training.fine_tuning import train

        run, seed = attacked.run, seed_for(attacked.run.seed, "relearn", settings.text)
        self.check(run.corpus, settings)
        texts = texts_of(run.corpus, settings)
        if settings.texts:
            texts = random.Random(seed).sample(texts, settings.texts)
        train(run.model, run.tokenizer, texts, training(settings), seed, lambda step, loss: None)


ATTACKS.register(Relearn())
