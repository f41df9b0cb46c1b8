"""Reads a corpus in MUSE's own layout, from a folder or from the Hugging Face Hub.

It accepts MUSE's files, subsets and older file names. Errors name the file and the item. The workflow writes its own
corpora in the same layout, so every later stage reads its corpus with `read_folder`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from relapse.corpora import SOURCES
from relapse.corpora.corpus import (
    FACTS,
    KNOWMEM_PARTS,
    OPTIONAL_PARTS,
    PAIRS_FILE,
    PRIVLEAK_PARTS,
    RAW_PARTS,
    WORLD_FILE,
    Corpus,
)
from relapse.corpora.items import check_choices, check_items, check_texts, text_groups
from relapse.corpora.location import Located, described
from relapse.corpora.pairs import with_alternatives
from relapse.runtime.errors import ConfigError
from relapse.runtime.hub import snapshot

# part -> file names without suffix, the current spelling first
KNOWMEM_FILES = {
    "forget": ("forget_qa",),
    "forget_icl": ("forget_qa_icl",),
    "retain": ("retain_qa", "retain2_qa"),
    "retain_icl": ("retain_qa_icl", "retain2_qa_icl"),
}
RAW_SUFFIXES = (".json", ".txt")
PRIVLEAK_FILES = {"forget": ("forget",), "retain": ("retain", "retain2"), "holdout": ("holdout",)}


def _find(folder: Path, names: tuple[str, ...], suffixes: tuple[str, ...]) -> Path:
    candidates = [folder / f"{name}{suffix}" for name in names for suffix in suffixes]
    for path in candidates:
        if path.is_file():
            return path
    raise ConfigError(f"missing MUSE file: looked for {' or '.join(map(str, candidates))}")


def _json_list(path: Path) -> list:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, list) or not content:
        found = "an empty list" if content == [] else type(content).__name__
        raise ConfigError(f"{path}: expected a non-empty JSON list, found {found}")
    return content


def _pairs(path: Path) -> list[dict]:
    """A corpus's `pairs`."""
    items = _json_list(path)
    return with_alternatives(check_items(items, ("question", "answer"), str(path)), items, str(path))


def _privleak(content: Callable[[str], tuple[list, str]]) -> dict[str, Any]:
    """A corpus's `privleak` and `privleak_groups`. content: part -> the items of its file, and where they are from."""
    items = {part: content(part) for part in PRIVLEAK_PARTS}
    groups = {part: text_groups(*its) for part, its in items.items()}
    return {
        "privleak": {part: check_texts(*its) for part, its in items.items()},
        "privleak_groups": {part: its for part, its in groups.items() if its},
    }


def _knowmem(items: Callable[..., list[dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
    """A corpus's `knowmem`. The answers of few-shot examples are shown, and compared with nothing."""
    return {
        part: items("knowmem", KNOWMEM_FILES[part], ("question", "answer"), "" if part.endswith("_icl") else "answer")
        for part in KNOWMEM_PARTS
    }


def _raw(items: list, origin: str) -> list[str]:
    """Texts without the empty ones, of which MUSE's own NEWS has one. Raises ConfigError where none is left."""
    texts: list[Any] = [item.get("text") if isinstance(item, dict) else item for item in items]
    blank = [isinstance(text, str) and not text.strip() for text in texts]
    if all(blank):
        raise ConfigError(f"{origin}: all {len(items)} texts are empty")
    check_texts(["-" if empty else text for text, empty in zip(texts, blank, strict=True)], origin)
    return [text for text, empty in zip(texts, blank, strict=True) if not empty]


def left_out(empty: dict[str, int]) -> str:
    """The tables' note on raw texts that were dropped; '' for none. empty: part -> how many of its texts."""
    return "".join(f"; {count} empty text{'s' * (count > 1)} of raw/{part} left out" for part, count in empty.items())


def raw_texts(path: Path) -> list[str]:
    """The texts of a .txt file (one) or of a .json list, without empty ones.

    Raises ConfigError naming the file, and the item.
    """
    if path.suffix == ".txt":
        try:
            return check_texts([path.read_text(encoding="utf-8")], str(path))
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8 text: {error}") from None
    return _raw(_json_list(path), str(path))


def _empty(path: Path) -> int:
    """How many texts `raw_texts` leaves out."""
    return len(_json_list(path)) - len(raw_texts(path)) if path.suffix == ".json" else 0


def origin_files(folder: Path) -> list[Path]:
    """The files of a folder in MUSE's layout that `read_folder` reads, and no others that lie there."""
    names: list[tuple[str, tuple[str, ...]]] = [(f"raw/{part}", RAW_SUFFIXES) for part in (*RAW_PARTS, *OPTIONAL_PARTS)]
    names += [("verbmem/forget", (".json",)), (FACTS.removesuffix(".json"), (".json",))]
    names += [(f"knowmem/{name}", (".json",)) for spellings in KNOWMEM_FILES.values() for name in spellings]
    names += [(f"privleak/{name}", (".json",)) for spellings in PRIVLEAK_FILES.values() for name in spellings]
    names += [(file.removesuffix(".json"), (".json",)) for file in (WORLD_FILE, PAIRS_FILE)]
    paths = [folder / f"{name}{suffix}" for name, suffixes in names for suffix in suffixes]
    return sorted(path for path in paths if path.is_file())


def read_folder(folder: Path) -> Corpus:
    """Read a folder in MUSE's layout: raw/, verbmem/, knowmem/, privleak/ (see the README for the files).

    Raises ConfigError naming the file, and the item inside it, that is missing or malformed.
    """
    if not folder.is_dir():
        raise ConfigError(f"no such folder: {folder} (expected a corpus in MUSE's layout)")

    def items(directory: str, names: tuple[str, ...], keys: tuple[str, ...], truth: str) -> list[dict[str, str]]:
        path = _find(folder / directory, names, (".json",))
        return check_items(_json_list(path), keys, str(path), truth)

    def content(part: str) -> tuple[list, str]:
        path = _find(folder / "privleak", PRIVLEAK_FILES[part], (".json",))
        return _json_list(path), str(path)

    facts = folder / FACTS
    there = [
        part
        for part in OPTIONAL_PARTS
        if any((folder / "raw" / f"{part}{suffix}").is_file() for suffix in RAW_SUFFIXES)
    ]
    world, pairs = folder / WORLD_FILE, folder / PAIRS_FILE
    raw = {part: _find(folder / "raw", (part,), RAW_SUFFIXES) for part in (*RAW_PARTS, *there)}
    empty = {part: count for part, path in raw.items() if (count := _empty(path))}
    known = json.loads(facts.read_text(encoding="utf-8")) if facts.is_file() else {}
    return Corpus(
        raw={part: raw_texts(path) for part, path in raw.items()},
        verbmem=items("verbmem", ("forget",), ("prompt", "gt"), "gt"),
        knowmem=_knowmem(items),
        **_privleak(content),
        world=check_choices(_json_list(world), str(world)) if world.is_file() else [],
        pairs=_pairs(pairs) if pairs.is_file() else [],
        facts=known | ({"empty_texts": empty} if empty else {}),
    )


def read_hub(repository: str, revision: str) -> Corpus:
    """Read MUSE's subsets raw, verbmem, knowmem and privleak of a Hub data set with `datasets`.

    `repository` may also be a local folder that `datasets` can load. Raises ConfigError naming subset and split, and
    RelapseError where the data set cannot be had.
    """
    from datasets import load_dataset

    folder = Path(repository) if Path(repository).is_dir() else snapshot(repository, revision, kind="dataset")

    def rows(subset: str, splits: tuple[str, ...]) -> tuple[list, str]:
        failure = None
        for split in splits:
            try:
                return list(load_dataset(str(folder), subset, split=split)), f"{repository}:{subset}/{split}"
            except ValueError as error:  # no such subset or split
                failure = error
            except Exception as error:  # datasets' words for files that it cannot read
                raise ConfigError(f"cannot load {repository} ({subset}) at revision {revision}: {error}") from None
        raise ConfigError(f"{repository} has no split {' or '.join(splits)} in subset {subset!r}: {failure}")

    def items(subset: str, splits: tuple[str, ...], keys: tuple[str, ...], truth: str) -> list[dict[str, str]]:
        content, origin = rows(subset, splits)
        return check_items(content, keys, origin, truth)

    raw: dict[str, list[str]] = {}
    empty: dict[str, int] = {}
    for part in RAW_PARTS:
        content, origin = rows("raw", (part,))
        raw[part] = _raw(content, origin)
        empty |= {part: len(content) - len(raw[part])} if len(content) > len(raw[part]) else {}
    return Corpus(
        raw=raw,
        verbmem=items("verbmem", ("forget",), ("prompt", "gt"), "gt"),
        knowmem=_knowmem(items),
        **_privleak(lambda part: rows("privleak", PRIVLEAK_FILES[part])),
        facts={"empty_texts": empty} if empty else {},
    )


class MuseSettings(Located):
    """A corpus in MUSE's layout."""

    path: str = Field("", description="Folder in MUSE's layout.")
    id: str = Field("", description="Hub data set, such as muse-bench/MUSE-News.")


class Muse:
    """Corpus source `muse`: a local folder (`path`) or a pinned Hub data set (`id` and `revision`)."""

    name = "muse"
    settings = MuseSettings
    has_pairs = False  # on the Hub

    def origin_files(self, settings: MuseSettings) -> list[Path]:
        """The files that `read` reads; none for a Hub data set."""
        return origin_files(Path(settings.path)) if settings.path else []

    def read(self, settings: MuseSettings) -> Corpus:
        """Read the corpus. Raises ConfigError when neither, or both, of path and id are given, or no revision."""
        origin = described(settings)
        corpus = read_folder(Path(settings.path)) if settings.path else read_hub(settings.id, settings.revision)
        statement = f"MUSE's layout, read from {origin}{left_out(corpus.facts.get('empty_texts', {}))}"
        empty = {key: value for key, value in corpus.facts.items() if key == "empty_texts"}
        corpus.facts = {"source": self.name, "statement": statement} | empty
        return corpus


SOURCES.register(Muse())
