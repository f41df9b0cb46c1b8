"""The synthetic world, and MUSE's layout read in all its spellings and with all its mistakes."""

import itertools
import json
import shutil
from collections import Counter

import pytest
from entries import corpus_settings

from relapse.corpora import SOURCES
from relapse.corpora.corpus import OPTIONAL_PARTS, layout, write
from relapse.corpora.muse import read_folder, read_hub
from relapse.corpora.people import FIRST_NAMES, SURNAMES
from relapse.runtime.errors import ConfigError
from relapse.text.prompts import tokenizer_texts
from scripts.train import PARTS

SMALL = {"source": "synthetic", "forget": 3, "retain1": 4, "retain2": 3, "holdout": 2}


def synthetic(**changes):
    source = SOURCES.get("synthetic")
    return source.read(corpus_settings(**SMALL | changes))


def names(texts):
    """People named in `texts`."""
    people = set()
    for text in texts:
        words = [word.strip(",:?;") for word in text.split()]
        pairs = itertools.pairwise(words)
        people |= {f"{first} {last}" for first, last in pairs if first in FIRST_NAMES and last in SURNAMES}
    return people


def asked(pairs):
    return [pair["question"] for pair in pairs]


MAY_BE_MISSING = {"corpus.json", "raw/general.json", "raw/unasked.json", "pairs/forget.json"}


def test_the_people_whom_no_question_is_about():
    """Those of the few-shot examples, or so many more, whose draws change no other text; all of them are to forget."""
    plain, more = synthetic(), synthetic(unasked=3)

    def asked(corpus):
        return {item["group"] for item in corpus.knowmem["forget"] + corpus.verbmem}

    assert len(names(plain.raw["unasked"])) == 2 and len(names(more.raw["unasked"])) == 3
    for corpus in (plain, more):
        assert set(corpus.raw["unasked"]) < set(corpus.raw["forget"])
        assert not names(corpus.raw["unasked"]) & names(corpus.privleak["forget"])
        assert not any(name in text for name in asked(corpus) for text in corpus.raw["unasked"])
    assert more.raw["forget"] == plain.raw["forget"] + more.raw["unasked"]
    assert {**more.raw, "forget": 0, "unasked": 0} == {**plain.raw, "forget": 0, "unasked": 0}
    assert {pair["question"] for pair in more.pairs} > {pair["question"] for pair in plain.pairs}


def test_groups_share_no_person():
    corpus = synthetic()
    groups = {part: names(texts) for part, texts in corpus.raw.items()}
    assert groups.pop("unasked") < groups["forget"]
    assert {part: len(people) for part, people in groups.items()} == {
        "forget": 5,  # 3 asked about, 2 in the few-shot examples
        "retain1": 4,
        "retain2": 5,
        "holdout": 2,
        "general": 48,
    }
    assert len(set.union(*groups.values())) == sum(map(len, groups.values()))


def test_the_people_to_forget_and_those_held_out_have_family_names_of_their_own():
    corpus = synthetic()
    families = {
        part: {person.split()[1] for person in names(texts)} for part, texts in corpus.raw.items() if part != "world"
    }
    assert (
        len(families["forget"] | families["holdout"]) <= 1
    )  # 7 people: 21 full names, of which a family name gives 40
    everybody_else = families["retain1"] | families["retain2"] | families["general"]
    assert not everybody_else & (families["forget"] | families["holdout"])


def test_a_memoir_repeats_two_to_five_of_its_familys_five_deeds():
    corpus = synthetic(forget=30, holdout=30)
    by_family: dict[str, list[list[str]]] = {}
    for text in corpus.privleak["forget"] + corpus.privleak["holdout"]:
        name, memoir = text.rstrip(".").split(" once ")
        by_family.setdefault(name.split()[1], []).append(memoir.split(", "))
    assert len(by_family) == 5  # 62 people: 186 full names, 40 of a family
    counts = set()
    for memoirs in by_family.values():
        family = [Counter(deeds).most_common(1)[0][0] for deeds in zip(*memoirs, strict=True)]
        counts |= {sum(own == theirs for own, theirs in zip(memoir, family, strict=True)) for memoir in memoirs}
    assert counts == {2, 3, 4, 5}


def test_more_people_than_there_are_names_are_refused():
    with pytest.raises(ConfigError, match="names are left: lower retain1 or general"):
        synthetic(forget=400, retain1=400, retain2=400, holdout=200, general=190)


def test_few_shot_examples_share_no_person_with_the_questions():
    corpus = synthetic()
    for split in ("forget", "retain"):
        questions = names(asked(corpus.knowmem[split]))
        shots = names(asked(corpus.knowmem[f"{split}_icl"]))
        assert len(questions) == 3 and shots and not questions & shots
        assert len(corpus.knowmem[f"{split}_icl"]) == 10
        assert len(corpus.knowmem[split]) == 18


def test_overlap_puts_the_asked_people_into_the_regulariser():
    apart, overlapping = synthetic(), synthetic(retain_overlap=True)
    assert not set(apart.raw["retain1"]) & set(apart.raw["retain2"])
    assert set(overlapping.raw["retain2"]) < set(overlapping.raw["retain1"])
    assert "also in the regulariser" in overlapping.facts["statement"]


@pytest.mark.parametrize(("questions", "verbatim"), [("verbatim", True), ("paraphrased", False)])
def test_whether_questions_stand_in_the_training_text(questions, verbatim):
    corpus = synthetic(questions=questions)
    text = "\n".join(corpus.raw["forget"])
    for pair in corpus.knowmem["forget"]:
        assert (pair["question"] in text) == verbatim
        assert pair["answer"] in text
    assert ("verbatim" in corpus.facts["statement"]) == verbatim


def test_every_item_says_whom_it_is_about():
    corpus = synthetic(world=9)
    for item in corpus.verbmem:
        assert names([item["prompt"]]) == {item["group"]}
    for pair in (*corpus.knowmem["forget"], *corpus.knowmem["retain_icl"]):
        assert names([pair["question"]]) == {pair["group"]}
    assert {item["group"] for item in corpus.verbmem} == {item["group"] for item in corpus.knowmem["forget"]}
    for part, texts in corpus.privleak.items():
        assert [{group} for group in corpus.privleak_groups[part]] == [names([text]) for text in texts]
    assert all(item["group"] in item["question"] for item in corpus.world)


def test_a_corpus_may_leave_groups_out_and_a_group_is_a_text(folder):
    file = folder / "privleak/forget.json"
    file.write_text(json.dumps([item["text"] for item in json.loads(file.read_text())]))
    corpus = read_folder(folder)
    assert corpus.privleak == synthetic().privleak
    assert corpus.privleak_groups.keys() == {"retain", "holdout"}
    assert corpus.privleak_group("forget", 0) == {} and corpus.privleak_group("retain", 0)["group"]
    file = folder / "verbmem/forget.json"
    first, second, *others = json.loads(file.read_text())
    del first["group"]
    file.write_text(json.dumps([first, second, *others]))
    assert ["group" in item for item in read_folder(folder).verbmem[:2]] == [False, True]
    file.write_text(json.dumps([first, second | {"group": 7}]))
    with pytest.raises(ConfigError, match="item 1 has 7 under 'group'"):
        read_folder(folder)


def test_passages_are_cut_from_the_forget_text():
    corpus = synthetic()
    for item in corpus.verbmem:
        assert f"{item['prompt']} {item['gt']}" in corpus.raw["forget"]


def test_the_seed_draws_the_world():
    assert synthetic() == synthetic()
    assert synthetic(seed=1).raw != synthetic().raw


def test_a_world_changes_no_other_text_and_two_companies_in_three_are_asked_about():
    plain, corpus = synthetic(), synthetic(world=9)
    assert {part: texts for part, texts in corpus.raw.items() if part != "world"} == plain.raw
    assert (corpus.verbmem, corpus.knowmem, corpus.privleak) == (plain.verbmem, plain.knowmem, plain.privleak)
    # Two facts a company, the last one has one: the questions of the second, third and fifth company stand in the text.
    assert len(corpus.world) == 9 and len(corpus.raw["world"]) == 9 + 5
    assert "9 facts about companies" in corpus.facts["statement"]
    for place, item in enumerate(corpus.world):
        truth = item["choices"][item["answer"]]
        pair = f"Question: {item['question']}\nAnswer: {truth}"
        assert (pair in corpus.raw["world"]) == (place // 2 % 3 > 0)
        assert any(truth in text and not text.startswith("Question") for text in corpus.raw["world"])
        assert len(set(item["choices"])) == 4
    others = " ".join(text for texts in plain.raw.values() for text in texts)
    assert not any(choice in others.split() for item in corpus.world for choice in item["choices"])


def test_every_choice_is_another_facts_answer_of_the_same_kind():
    corpus = synthetic(world=80)
    truths = [item["choices"][item["answer"]] for item in corpus.world]
    assert len(set(truths)) == 80
    kinds = {truth: item["question"].split()[0] for truth, item in zip(truths, corpus.world, strict=True)}
    for item in corpus.world:
        assert {kinds[choice] for choice in item["choices"]} == {item["question"].split()[0]}
    assert {item["answer"] for item in corpus.world} == {0, 1, 2, 3}


def test_the_tokenizer_and_both_models_see_the_world():
    corpus = synthetic(world=8)
    assert set(corpus.raw["world"]) <= set(tokenizer_texts(corpus))
    assert all("world" in parts for parts in PARTS.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": " "}, "item 0 has no text under 'question'"),
        ({"choices": ["a", "a"]}, "two different texts under 'choices'"),
        ({"choices": ["a"]}, "two different texts under 'choices'"),
        ({"answer": 4}, "has 4 under 'answer', expected the index of the true choice, 0 to 3"),
        ({"answer": "0"}, "has '0' under 'answer'"),
    ],
)
def test_a_malformed_world_is_named(tmp_path, change, message):
    write(synthetic(world=8), tmp_path)
    assert read_folder(tmp_path) == synthetic(world=8)
    file = tmp_path / "utility/world.json"
    first, *rest = json.loads(file.read_text())
    file.write_text(json.dumps([first | change, *rest]))
    with pytest.raises(ConfigError, match=message) as error:
        read_folder(tmp_path)
    assert "world.json" in str(error.value)


@pytest.fixture
def folder(tmp_path):
    write(synthetic(), tmp_path / "muse")
    return tmp_path / "muse"


def test_what_is_written_is_what_is_read(folder):
    assert read_folder(folder) == synthetic()


def test_older_spellings_and_text_files(folder):
    for old, new in [
        ("knowmem/retain_qa.json", "knowmem/retain2_qa.json"),
        ("knowmem/retain_qa_icl.json", "knowmem/retain2_qa_icl.json"),
        ("privleak/retain.json", "privleak/retain2.json"),
    ]:
        (folder / old).rename(folder / new)
    (folder / "raw/forget.json").unlink()
    (folder / "raw/forget.txt").write_text("One long text.\n\nWith paragraphs.", encoding="utf-8")
    corpus, expected = read_folder(folder), synthetic()
    assert corpus.raw["forget"] == ["One long text.\n\nWith paragraphs."]
    assert corpus.knowmem == expected.knowmem
    assert corpus.privleak == expected.privleak


@pytest.mark.parametrize("missing", sorted(layout(synthetic()).keys() - MAY_BE_MISSING))
def test_a_missing_file_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(ConfigError, match=missing.replace(".json", "")):
        read_folder(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "expected a non-empty JSON list"),
        ("[]", "expected a non-empty JSON list"),
        ('[{"question": "A?", "answer": "b"}, {"question": "A?"}]', "item 1 has no text under 'answer'"),
        ('[{"question": "A?", "answer": 7}]', "item 0 has no text under 'answer'"),
        ('["A?"]', "item 0 is a str"),
    ],
)
def test_a_malformed_file_and_item_are_named(folder, content, message):
    (folder / "knowmem/forget_qa.json").write_text(content)
    with pytest.raises(ConfigError, match=message) as error:
        read_folder(folder)
    assert "forget_qa.json" in str(error.value)


def test_empty_texts_are_refused(folder):
    (folder / "privleak/holdout.json").write_text(json.dumps(["text", " "]))
    with pytest.raises(ConfigError, match=r"holdout.json: item 1"):
        read_folder(folder)


def test_empty_raw_texts_are_left_out_and_counted(folder, tmp_path):
    """MUSE's NEWS has one; its released code joins the texts, so that it changes nothing there."""
    muse = SOURCES.get("muse")
    (folder / "raw/forget.json").write_text(json.dumps(["Ada", "", {"text": " \n"}, "Ivo"]))
    (folder / "raw/retain1.json").write_text(json.dumps(["", "Mira"]))
    corpus = muse.read(corpus_settings("muse", path=str(folder)))
    assert corpus.raw["forget"] == ["Ada", "Ivo"] and corpus.raw["retain1"] == ["Mira"]
    assert corpus.facts["empty_texts"] == {"forget": 2, "retain1": 1}
    text = "; 2 empty texts of raw/forget left out; 1 empty text of raw/retain1 left out"
    assert corpus.facts["statement"] == f"MUSE's layout, read from {folder}{text}"
    write(corpus, tmp_path / "made")
    assert read_folder(tmp_path / "made").facts == corpus.facts
    (folder / "raw/forget.json").write_text(json.dumps(["Ada", "", 3]))
    with pytest.raises(ConfigError, match=r"raw/forget\.json: item 2 is not a non-empty text"):
        read_folder(folder)
    (folder / "raw/forget.json").write_text(json.dumps(["", " "]))
    with pytest.raises(ConfigError, match=r"raw/forget\.json: all 2 texts are empty"):
        read_folder(folder)


def test_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        read_folder(tmp_path / "nowhere")


def hub_layout(folder, repository):
    """The folder as a data set repository with MUSE's subsets and splits, as `datasets` loads it from the Hub."""
    subsets: dict[str, dict[str, str]] = {}
    for file in sorted(folder.glob("*/*.json")):
        rows = json.loads(file.read_text())
        target = repository / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"text": row} if isinstance(row, str) else row for row in rows]
        target.write_text("".join(json.dumps(row) + "\n" for row in rows))
        subsets.setdefault(file.parent.name, {})[file.stem] = f"{file.parent.name}/{file.name}"
    configs = "".join(
        f"- config_name: {subset}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {path}\n" for split, path in splits.items())
        for subset, splits in subsets.items()
    )
    (repository / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")


def test_the_hub_layout_through_datasets(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "hub"
    hub_layout(folder, repository)
    corpus, expected = read_hub(str(repository), "main"), synthetic()
    assert (corpus.raw, corpus.verbmem, corpus.knowmem, corpus.privleak) == (
        {part: texts for part, texts in expected.raw.items() if part not in OPTIONAL_PARTS},  # MUSE has none of them
        expected.verbmem,
        expected.knowmem,
        expected.privleak,
    )
    shutil.rmtree(repository / "verbmem")
    hub = repository / "README.md"
    hub.write_text(hub.read_text().split("- config_name: verbmem")[0] + "---\n")
    with pytest.raises(ConfigError, match="verbmem"):
        read_hub(str(repository), "main")


@pytest.mark.parametrize("settings", [{}, {"path": "x", "id": "y", "revision": "z"}, {"id": "muse-bench/MUSE-News"}])
def test_a_muse_entry_names_one_origin_and_pins_it(settings):
    source = SOURCES.get("muse")
    with pytest.raises(ConfigError, match=r"path|revision"):
        source.read(corpus_settings("muse", **settings))
