"""TOFU (arXiv 2401.06121): question/answer pairs about authors who do not exist, as a corpus.

This module turns the files of the data set `locuslab/TOFU` into the parts of a corpus. The files hold the 20 pairs of
each author one after the other. No author is in two of these parts:

    forget     the pairs of forget01, forget05 or forget10
    retain1    half of the authors of the matching retain99, retain95 or retain90; the few-shot examples are from here
    retain2    the other half; KnowMem retain asks about them
    holdout    the pairs of holdout01, holdout05 or holdout10, about authors of the same kind whom no model is trained
               on; or world_facts and real_authors, which are true, shorter, and known to a pretrained model

A text is "Question: ...\\nAnswer: ..."; VerbMem's prompt is its question, and the answer is the truth: give VerbMem
`until: "\\n\\n"`, the blank line that follows an answer in training text. KnowMem forget asks the same behind ten
examples, which are about retained authors so that they give nothing away.
"""

import json
import random
from pathlib import Path
from typing import Literal

from pydantic import Field

from relapse.corpora import SOURCES
from relapse.corpora.corpus import UNASKED, Corpus
from relapse.corpora.location import Located, described
from relapse.corpora.pairs import with_alternatives
from relapse.runtime.errors import ConfigError
from relapse.runtime.hub import snapshot
from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Whole
from relapse.text.prompts import as_prompt, as_text
from relapse.text.words import words

# split -> the split of those who are kept, and of those whom no model is trained on
SPLITS = {
    "forget01": ("retain99", "holdout01"),
    "forget05": ("retain95", "holdout05"),
    "forget10": ("retain90", "holdout10"),
}
TRUE_FACTS = ("world_facts", "real_authors")
PAIRS_OF_AUTHOR = 20
EXAMPLES = 10

Pair = dict[str, str]


def json_lines(path: Path) -> list[dict]:
    """The objects of a JSON-lines file. Raises ConfigError naming the file, and the line that is none."""
    items = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: an answer may hold U+2028
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: {error}") from None
    for number, line in enumerate(line for line in lines if line.strip()):
        try:
            items.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path}: item {number} is not one JSON object on one line: {error}") from None
        if not isinstance(items[-1], dict):
            raise ConfigError(f"{path}: item {number} is a {type(items[-1]).__name__}, expected an object")
    return items


def read_pairs(path: Path) -> list[Pair]:
    """The {question, answer} pairs of a JSON-lines file, other fields left out.

    Raises ConfigError naming the file, and the item inside it, that is missing or malformed.
    """
    if not path.is_file():
        raise ConfigError(f"missing TOFU file: {path}")
    pairs = []
    for number, item in enumerate(json_lines(path)):
        for key in ("question", "answer"):
            if not isinstance(item.get(key), str) or not item[key].strip():
                raise ConfigError(f"{path}: item {number} has no text under {key!r}; it has {sorted(item)}")
        if not words(item["answer"]):
            raise ConfigError(f"{path}: item {number} has no word under 'answer', only {item['answer']!r}")
        pairs.append({"question": item["question"], "answer": item["answer"]})
    if not pairs:
        raise ConfigError(f"{path}: no items")
    return pairs


def read_authors(path: Path) -> list[list[Pair]]:
    """`read_pairs`, in groups of 20: the authors, whom each pair names as its `group`.

    Raises ConfigError for a file that ends inside an author.
    """
    pairs = read_pairs(path)
    if len(pairs) % PAIRS_OF_AUTHOR:
        raise ConfigError(
            f"{path}: {len(pairs)} items, expected a multiple of {PAIRS_OF_AUTHOR}, the questions about one author: is "
            "it cut short?"
        )
    return [
        [pair | {"group": f"{path.stem} {number}"} for pair in pairs[number * PAIRS_OF_AUTHOR :][:PAIRS_OF_AUTHOR]]
        for number in range(len(pairs) // PAIRS_OF_AUTHOR)
    ]


def perturbed(path: Path, pairs: list[Pair]) -> list[dict]:
    """The pairs, each with the data set's perturbed answers as its alternatives; without any where there is no file.

    Raises ConfigError where the file's questions are others.
    """
    if not path.is_file():
        return pairs
    items = json_lines(path)
    if [item.get("question") for item in items] != [pair["question"] for pair in pairs]:
        raise ConfigError(f"{path}: its questions are not those of {path.name.replace('_perturbed', '')}, in order")
    items = [pair | {"alternatives": item.get("perturbed_answer")} for pair, item in zip(pairs, items, strict=True)]
    return with_alternatives(pairs, items, str(path))


def read_folder(folder: Path, split: str, holdout: str, questions: int, seed: int) -> Corpus:
    """The corpus of one split of a folder in the data set's layout, without its facts; see TofuSettings."""
    if not folder.is_dir():
        raise ConfigError(f"no such folder: {folder} (expected the files of TOFU, such as {split}.json)")
    retain_split, holdout_split = SPLITS[split]
    forget = [pair for author in read_authors(folder / f"{split}.json") for pair in author]
    kept = read_authors(folder / f"{retain_split}.json")
    if len(kept) < 2:
        raise ConfigError(
            f"{folder / retain_split}.json: must have at least two authors, who are split into two halves"
        )
    if holdout == "split":
        if not (folder / f"{holdout_split}.json").is_file():
            raise ConfigError(
                f"missing TOFU file: {folder / holdout_split}.json. Older copies of the data set have none: take a "
                "newer one, or use holdout: true_facts."
            )
        unseen = [pair for author in read_authors(folder / f"{holdout_split}.json") for pair in author]
    else:
        unseen = [pair for name in TRUE_FACTS for pair in read_pairs(folder / f"{name}.json")]

    def rng(draw: str) -> random.Random:
        return random.Random(seed_for(seed, "tofu", draw))

    def chosen(pairs: list[Pair], part: str) -> list[Pair]:
        """The pairs that are asked, in their own order."""
        if not questions or questions >= len(pairs):
            return pairs
        return [pairs[place] for place in sorted(rng(part).sample(range(len(pairs)), questions))]

    rng("halves").shuffle(kept)
    half = len(kept) // 2
    retain1 = [pair for author in kept[half:] for pair in author]
    retain2 = [pair for author in kept[:half] for pair in author]
    asked = {"forget": chosen(forget, "forget"), "retain": chosen(retain2, "retain")}
    examples = rng("examples").sample(retain1, EXAMPLES)
    parts = {"forget": forget, "retain1": retain1, "retain2": retain2, "holdout": unseen}
    scored = asked | {"holdout": chosen(unseen, "holdout")}
    unasked = [as_text(pair) for pair in forget if pair not in asked["forget"]]  # about the same authors, though
    known = {part: pairs for part, pairs in scored.items() if all("group" in pair for pair in pairs)}
    return Corpus(
        raw={part: [as_text(pair) for pair in pairs] for part, pairs in parts.items()}
        | ({UNASKED: unasked} if unasked else {}),
        pairs=perturbed(folder / f"{split}_perturbed.json", forget),
        verbmem=[{"prompt": as_prompt(pair), "gt": pair["answer"], "group": pair["group"]} for pair in asked["forget"]],
        knowmem=asked | {"forget_icl": examples, "retain_icl": examples},
        privleak={part: [as_text(pair) for pair in pairs] for part, pairs in scored.items()},
        privleak_groups={part: [pair["group"] for pair in pairs] for part, pairs in known.items()},
    )


class TofuSettings(Located):
    """TOFU, or a data set in its layout."""

    path: str = Field(
        "", description="Folder with the data set's files, such as forget10.json (JSON lines: question, answer)."
    )
    id: str = Field("", description="Hub data set, such as locuslab/TOFU.")
    split: Literal["forget01", "forget05", "forget10"] = Field(
        "forget10", description="Share of the 200 authors to forget: 1, 5 or 10 %."
    )
    holdout: Literal["split", "true_facts"] = Field(
        "split",
        description="PrivLeak's non-members. split: the data set's own, made-up authors whom no model is "
        "trained on; true_facts: world_facts and real_authors, which differ in kind and shift PrivLeak.",
    )
    questions: Whole = Field(
        0,
        description="At most this many pairs of each part are asked or scored by metrics, drawn with seed. 0: all (400 "
        "of forget10, and 1,800 retained ones). Models are trained on all texts in both cases.",
    )
    seed: Whole = Field(
        0,
        description="Draws the halves of the retained authors, the few-shot examples and the questions; "
        "independent of the study's seeds.",
    )


class Tofu:
    """Corpus source `tofu`: a local folder (`path`) or a pinned Hub data set (`id` and `revision`)."""

    name = "tofu"
    settings = TofuSettings
    has_pairs = True  # on the Hub

    def origin_files(self, settings: TofuSettings) -> list[Path]:
        """The files that `read` reads; none for a Hub data set."""
        unseen = TRUE_FACTS if settings.holdout == "true_facts" else (SPLITS[settings.split][1],)
        split, folder = settings.split, Path(settings.path)
        others = [f"{split}_perturbed"] if (folder / f"{split}_perturbed.json").is_file() else []
        names = (split, SPLITS[split][0], *unseen, *others)
        return sorted(folder / f"{name}.json" for name in names) if settings.path else []

    def read(self, settings: TofuSettings) -> Corpus:
        """Read the corpus. Raises ConfigError when neither, or both, of path and id are given, or no revision."""
        origin = described(settings)
        split, holdout = settings.split, settings.holdout
        if settings.path:
            folder = Path(settings.path)
        else:
            unseen: tuple[str, ...] = TRUE_FACTS if holdout == "true_facts" else (SPLITS[split][1],)
            patterns = [f"{name}.json" for name in (split, f"{split}_perturbed", SPLITS[split][0], *unseen)]
            folder = snapshot(settings.id, settings.revision, patterns, "dataset")
        corpus = read_folder(folder, split, holdout, settings.questions, settings.seed)
        others = SPLITS[split][1] if holdout == "split" else " and ".join(TRUE_FACTS)
        corpus.facts = {
            "source": self.name,
            "statement": f"TOFU {split}, read from {origin}: {len(corpus.raw['forget'])} pairs to forget, of which "
            f"{len(corpus.knowmem['forget'])} are asked; {len(corpus.knowmem['retain'])} are asked for utility, about "
            f"authors who are not in the regulariser's text (seed {settings.seed}); non-members from {others}",
        }
        return corpus


SOURCES.register(Tofu())
