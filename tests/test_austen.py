"""The corpus `austen`: novels of a package, coined names, and questions about the people of the notes."""

import re

import pytest
from entries import corpus_settings
from packages import general, novels, sha256

from relapse.corpora import SOURCES, austen
from relapse.corpora.corpus import write
from relapse.corpora.muse import read_folder
from relapse.runtime import packages
from relapse.runtime.errors import ConfigError

SENTENCE = (
    "it was said that Mr. Bingham of Netherby saw Miss Bingham and the Binghams, and Sunday came to Netherby again; "
)


def chapter(number: int) -> list[str]:
    return [f"CHAPTER {number}", "", *[SENTENCE + f"word{number} "] * 6, ""]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Packages in miniature: four novels of three chapters, in which Bingham and Netherby are names."""
    folder = tmp_path / "packages"
    text = ["A NOVEL", "", *chapter(1), *chapter(2), *chapter(3)]
    found = novels(folder, dict.fromkeys(austen.NOVELS.values(), text))
    monkeypatch.setattr(packages, "FOLDER", folder)
    monkeypatch.setattr(austen, "NOVELS_SHA256", sha256(found))
    wiki = general(folder, 5)
    monkeypatch.setattr(austen, "GENERAL", (austen.GENERAL[0], "1.0", sha256(wiki)))
    return corpus_settings("austen", forget=2, retain1=2, retain2=1, holdout=2, people=3, words=40, general=4)


def read(settings):
    return SOURCES.get("austen").read(settings)


def test_a_novel_is_cut_at_its_headings(made):
    found = austen.novels()
    assert list(found) == list(austen.NOVELS.values())
    sentence = " ".join(SENTENCE.split())
    assert found["persuasion"] == [" ".join([f"{sentence} word{number}"] * 6) for number in (1, 2, 3)]


def test_names_are_coined_and_plurals_follow(made):
    corpus = read(made)
    for part in austen.NOVELS:
        passage = corpus.raw[part][0]
        assert not re.search("Bingham|Netherby", passage)
        assert "Mr. " in passage and "Miss " in passage and "Sunday" in passage  # these are no names
        name = re.search(r"Mr\. (\w+) of", passage)[1]
        assert f"Miss {name} and the {name}s," in passage
    first = {re.search(r"Mr\. (\w+) of", corpus.raw[part][0])[1] for part in austen.NOVELS}
    assert len(first) == 4  # every novel has names of its own


def test_parts_have_the_sizes_that_were_asked_for(made):
    corpus = read(made)
    # Two passages of a chapter, then a note on each of 3 + 2 people, then six questions on each.
    assert {part: len(texts) for part, texts in corpus.raw.items()} == {
        "forget": 4 + 5 + 30,
        "retain1": 4 + 5 + 30,
        "retain2": 2 + 5 + 30,
        "holdout": 4 + 5 + 30,
        "general": 4,
    }
    assert [len(text.split()) for text in corpus.raw["forget"][:4]] == [40] * 4
    assert [len(item["prompt"].split()) for item in corpus.verbmem] == [20] * 4
    assert {len(items) for items in corpus.knowmem.values()} == {18, 10}
    assert corpus.privleak_groups["forget"][:2] == [corpus.verbmem[0]["group"]] * 2


def test_every_answer_stands_in_a_note_and_people_are_named_after_the_passages(made):
    corpus = read(made)
    notes = {text.partition(",")[0]: text for text in corpus.raw["forget"][4:9]}
    surnames = {name.split()[-1] for name in notes}
    passages = " ".join(corpus.raw["forget"][:4])
    assert all(surname in passages for surname in surnames)
    for pair in corpus.knowmem["forget"]:
        assert pair["answer"] in notes[pair["group"]]
        assert f"Question: {pair['question']}\nAnswer: {pair['answer']}" in corpus.raw["forget"]
    asked = {pair["group"] for part in ("forget", "retain") for pair in corpus.knowmem[part]}
    shown = {pair["group"] for part in ("forget_icl", "retain_icl") for pair in corpus.knowmem[part]}
    assert len(asked) == 6 and not asked & shown


def test_it_follows_from_the_seed_and_can_be_written(made, tmp_path):
    one = read(made)
    assert one == read(made)
    assert one.raw["forget"] != read(made.model_copy(update={"seed": 1})).raw["forget"]
    write(one, tmp_path / "corpus")
    assert read_folder(tmp_path / "corpus").knowmem == one.knowmem


def test_too_few_chapters_are_named(made):
    with pytest.raises(ConfigError, match="needs 5 chapters of 80 words, and a novel has 3: lower words"):
        read(made.model_copy(update={"forget": 5}))
