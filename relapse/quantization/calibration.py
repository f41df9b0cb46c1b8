"""Calibration text: what a calibrated quantizer looks at, as token windows.

This module finds the text, draws windows from it, and leaves out windows that overlap with the metrics' questions and
answers.
"""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from unicodedata import normalize

from pydantic import Field

from relapse.corpora.corpus import Corpus
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.errors import ConfigError, RelapseError
from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Count, Whole
from relapse.text.windows import windows
from relapse.text.words import words

FACTS = "calibration.json"
PARTS = {"general": "general", "retain": "retain1", "forget": "forget"}  # calibration -> part of the raw text


class CalibratedSettings(QuantizerSettings):
    """A quantizer that looks at text."""

    calibration: Literal[*PARTS, "file"] = Field(  # type: ignore[valid-type]
        "general",
        description="Calibration text: the corpus's general text (raw/general), its retain text (raw/retain1), its "
        "forget text (raw/forget), or a file of yours (calibration_path).",
    )
    calibration_path: str = Field(
        "",
        description="With calibration: file, a .txt (one text), or a .json list of texts or of {text: ...} objects.",
    )
    samples: Count = Field(
        128, description="Windows drawn from the text, without replacement; all of them if there are fewer."
    )
    sample_length: int = Field(512, ge=8, description="Tokens in a window, at most the model's context.")
    calibration_seed: Whole = Field(0, description="Draws the windows; independent of the study's seeds.")
    overlap_words: Whole = Field(
        0,
        description="Leave out windows that share this many consecutive words with the forget text, or with the "
        "metrics' questions and answers; 13 is usual. 0 leaves nothing out.",
    )


@dataclass(frozen=True)
class Facts:
    """What became of the text: windows there were, windows left out for their overlap, windows and tokens drawn."""

    calibration: str
    calibration_seed: int
    windows: int
    overlapping: int
    drawn: int
    tokens: int

    def write(self, folder: Path) -> None:
        """Write calibration.json into a checkpoint's folder."""
        (Path(folder) / FACTS).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read_facts(folder: Path) -> dict | None:
    """The content of calibration.json in a checkpoint's folder; None where there is none."""
    path = Path(folder) / FACTS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def texts(corpus: Corpus, settings: CalibratedSettings) -> list[str]:
    """The text that `settings` name. Raises ConfigError naming the key where there is none."""
    source = settings.calibration
    if source == "file":
        from relapse.corpora.muse import raw_texts

        path = Path(settings.calibration_path)
        if not settings.calibration_path:
            raise ConfigError("calibration: file needs calibration_path, a .txt or a .json list of texts")
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not there"
            raise ConfigError(f"calibration_path: {path} is {what}: name a .txt or a .json list of texts")
        return raw_texts(path)
    found = corpus.raw.get(PARTS[source])
    if not found:
        raise ConfigError(
            f"calibration: {source}, but the corpus has no raw/{PARTS[source]}.json or .txt: add it, or use "
            "calibration: retain, forget, or file with calibration_path"
        )
    return found


def draw(tokenizer, corpus: Corpus, settings: CalibratedSettings) -> tuple[list[list[int]], Facts]:
    """Windows of at most `sample_length` tokens, in the order in which they were drawn, and the facts about them.

    Raises RelapseError where none is left.
    """
    seed = settings.calibration_seed
    source = settings.calibration
    cut = windows(
        tokenizer,
        texts(corpus, settings),
        settings.sample_length,
        random.Random(seed_for(seed, "calibration windows", source)),
    )
    kept = cut
    if settings.overlap_words:
        known = grams(asked_about(corpus), settings.overlap_words)
        kept = [window for window in cut if not known & grams([tokenizer.decode(window)], settings.overlap_words)]
    if not kept:
        raise RelapseError(
            f"calibration: {source}: all {len(cut)} windows share {settings.overlap_words} words in a row with the "
            "forget or evaluation text: raise overlap_words, shorten sample_length, or calibrate on other text"
        )
    order = random.Random(seed_for(seed, "calibration sample", source))
    drawn = order.sample(kept, min(settings.samples, len(kept)))
    facts = Facts(source, seed, len(cut), len(cut) - len(kept), len(drawn), sum(map(len, drawn)))
    return drawn, facts


def asked_about(corpus: Corpus) -> list[str]:
    """The forget text, and every text that a metric shows to a model or expects from it."""
    asked = list(corpus.raw["forget"])
    asked += [f"{item['prompt']} {item['gt']}" for item in corpus.verbmem]
    asked += [f"{item['question']} {item['answer']}" for part in corpus.knowmem.values() for item in part]
    return asked + [text for part in corpus.privleak.values() for text in part]


def grams(these: Iterable[str], length: int) -> set[tuple[str, ...]]:
    """Every run of `length` consecutive words of each text, without case and punctuation, however accents are encoded.

    A character of a script without spaces, such as Chinese or Thai, counts as a word.
    """
    return {gram for text in these for gram in _runs(words(normalize("NFKC", text)), length)}


def _runs(words: Sequence[str], length: int) -> Iterable[tuple[str, ...]]:
    return (tuple(words[start : start + length]) for start in range(len(words) - length + 1))
