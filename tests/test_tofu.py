"""TOFU's layout, with a dozen authors made up here, as a corpus; and through the rule's own program."""

import json
import subprocess
import sys

import pytest
from entries import corpus_settings, metric_settings
from hub_server import REVISION, Hub

from relapse.corpora import SOURCES
from relapse.corpora.muse import read_folder
from relapse.metrics.knowmem import asked
from relapse.runtime.errors import ConfigError
from relapse.runtime.registry import ROOT
from relapse.text.prompts import as_prompt, few_shot_prompt
from relapse.text.wording import renderer

TOFU = SOURCES.get("tofu")


def author(number: int) -> list[dict]:
    """Twenty pairs, with the other fields that some of the data set's files have."""
    return [
        {
            "question": f"What is fact {fact} of author {number}?",
            "answer": f"Author {number} has {number * 100 + fact}.",
            "paraphrased_answer": "not read",
        }
        for fact in range(20)
    ]


def write_lines(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """Authors 0 to 6 are kept, 7 to 9 forgotten, 10 and 11 held out; author 9 alone is forget01."""
    made = tmp_path / "tofu"
    made.mkdir()
    files = {"retain90": range(7), "forget10": range(7, 10), "holdout10": range(10, 12)}
    files |= {"retain99": range(9), "forget01": [9]}
    for name, numbers in files.items():
        write_lines(made / f"{name}.json", [pair for number in numbers for pair in author(number)])
    write_lines(
        made / "world_facts.json", [{"question": "Where is the Louvre?", "answer": "Paris", "option1": "Paris"}]
    )
    write_lines(made / "real_authors.json", [{"question": "Who wrote Emma?", "answer": "Jane Austen"}])
    return made


def read(folder, **changes):
    return TOFU.read(corpus_settings("tofu", **{"path": str(folder)} | changes))


def authors(items) -> set[int]:
    """Numbers of the authors in texts or pairs."""
    return {int(json.dumps(item).split("of author ")[1].split("?")[0]) for item in items}


def test_the_parts_share_no_author_and_lose_none(folder):
    corpus = read(folder)
    parts = {part: authors(texts) for part, texts in corpus.raw.items()}
    assert parts["forget"] == {7, 8, 9} and parts["holdout"] == {10, 11}
    assert parts["retain1"] | parts["retain2"] == set(range(7)) and not parts["retain1"] & parts["retain2"]
    assert {part: len(texts) for part, texts in corpus.raw.items()} == {
        "forget": 60,
        "retain1": 80,  # four of seven authors
        "retain2": 60,
        "holdout": 40,
    }
    assert corpus.raw["forget"][0] == "Question: What is fact 0 of author 7?\nAnswer: Author 7 has 700."
    assert {part: authors(texts) for part, texts in corpus.privleak.items()} == {
        "forget": {7, 8, 9},
        "retain": parts["retain2"],
        "holdout": {10, 11},
    }


def test_what_is_asked(folder):
    corpus = read(folder)
    assert corpus.verbmem[21] == {
        "prompt": "Question: What is fact 1 of author 8?\nAnswer:",
        "gt": "Author 8 has 801.",
        "group": "forget10 1",
    }
    assert corpus.knowmem["forget"][21] == {
        "question": "What is fact 1 of author 8?",
        "answer": "Author 8 has 801.",
        "group": "forget10 1",
    }
    assert corpus.privleak_groups["holdout"][20] == "holdout10 1"
    assert authors(corpus.knowmem["retain"]) == authors(corpus.raw["retain2"])
    for split in ("forget", "retain"):
        shots = corpus.knowmem[f"{split}_icl"]
        assert len(shots) == 10 and authors(shots) <= authors(corpus.raw["retain1"])
    # The last prompt of KnowMem forget is its examples, a blank line after each, and then VerbMem's.
    given = asked(corpus.knowmem, "forget", metric_settings("knowmem_forget"), renderer(None)).prompts
    assert given[-1] == few_shot_prompt(corpus.knowmem["forget_icl"]) + as_prompt(corpus.knowmem["forget"][-1])
    assert given[-1].split("\n\n")[-1] == corpus.verbmem[-1]["prompt"]


def test_fewer_questions_are_a_seeded_choice(folder):
    everything, some = read(folder), read(folder, questions=7)
    assert {part: texts for part, texts in some.raw.items() if part != "unasked"} == everything.raw
    assert sorted(some.raw["unasked"] + some.privleak["forget"]) == sorted(some.raw["forget"])
    assert [len(some.knowmem[split]) for split in ("forget", "retain")] == [7, 7]
    assert [item["gt"] for item in some.verbmem] == [pair["answer"] for pair in some.knowmem["forget"]]
    assert {part: len(texts) for part, texts in some.privleak.items()} == {"forget": 7, "retain": 7, "holdout": 7}
    places = [everything.knowmem["forget"].index(pair) for pair in some.knowmem["forget"]]
    assert places == sorted(places) and places != list(range(7))
    assert read(folder, questions=7) == some
    assert read(folder, questions=7, seed=1).knowmem["forget"] != some.knowmem["forget"]
    assert read(folder, questions=1000).verbmem == everything.verbmem
    assert "60 pairs to forget, of which 7 are asked" in some.facts["statement"]


def test_the_split_says_which_files_are_read(folder):
    write_lines(folder / "holdout01.json", author(12))
    corpus = read(folder, split="forget01")
    assert authors(corpus.raw["forget"]) == {9} and authors(corpus.raw["holdout"]) == {12}
    assert authors(corpus.raw["retain1"] + corpus.raw["retain2"]) == set(range(9))


def test_true_facts_in_place_of_the_holdout_split(folder):
    corpus = read(folder, holdout="true_facts")
    assert corpus.raw["holdout"] == [
        "Question: Where is the Louvre?\nAnswer: Paris",
        "Question: Who wrote Emma?\nAnswer: Jane Austen",
    ]
    assert "world_facts and real_authors" in corpus.facts["statement"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "forget02"}, r"split: is 'forget02', must be 'forget01', 'forget05' or 'forget10'"),
        ({"split": "forget05"}, r"missing TOFU file: .*forget05.json"),
        ({"split": "forget01"}, r"missing TOFU file: .*holdout01.json.*holdout: true_facts"),
        ({"holdout": "none"}, "holdout: is 'none'"),
        ({"path": "nowhere"}, "no such folder: nowhere"),
        ({"path": ""}, "either `path` or `id`"),
        ({"path": "", "id": "locuslab/TOFU"}, "pin a `revision`"),
    ],
)
def test_what_is_not_there_is_named(folder, changes, message):
    with pytest.raises(ConfigError, match=message):
        read(folder, **changes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "A?"}', "item 3 has no text under 'answer'; it has .'question'"),
        ('{"question": " ", "answer": "b"}', "item 3 has no text under 'question'"),
        ('{"question": "A?", "answer": 7}', "item 3 has no text under 'answer'"),
        ('["A?", "b"]', "item 3 is a list"),
        ('{"question": "A?", "ans', "item 3 is not one JSON object"),
        ("", "59 items, expected a multiple of 20"),
    ],
)
def test_a_malformed_file_and_item_are_named(folder, line, message):
    path = folder / "forget10.json"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], line, *lines[4:]]))
    with pytest.raises(ConfigError, match=message) as error:
        read(folder)
    assert str(path) in str(error.value)


def test_an_empty_file_is_refused(folder):
    (folder / "retain90.json").write_text("\n")
    with pytest.raises(ConfigError, match=r"retain90.json: no items"):
        read(folder)


def test_a_line_separator_inside_an_answer_ends_no_item(folder):
    path = folder / "forget10.json"
    path.write_text(path.read_text().replace("Author 7 has 700.", "Author 7\u2028has 700."), encoding="utf-8")
    assert read(folder).verbmem[0]["gt"] == "Author 7\u2028has 700."


def make_corpus(settings, out, environment=None):
    command = [sys.executable, "-m", "scripts.make_corpus", "--settings", json.dumps(settings), "--out", str(out)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_through_the_rules_program(folder, tmp_path):
    settings = {"source": "tofu", "path": str(folder), "questions": 5}
    done = make_corpus(settings, tmp_path / "corpus")
    assert done.returncode == 0, done.stderr
    assert read_folder(tmp_path / "corpus") == read(folder, questions=5)
    (folder / "retain90.json").unlink()
    done = make_corpus(settings, tmp_path / "other")
    assert done.returncode == 1 and "retain90.json" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "other").exists()


def test_from_the_hub_only_what_is_read_is_downloaded(folder, tmp_path):
    hub = Hub({path.name: path.read_bytes() for path in folder.iterdir()})
    settings = {"source": "tofu", "id": "me/tiny", "revision": REVISION}
    environment = {"PATH": "/usr/bin:/bin", "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
    done = make_corpus(settings, tmp_path / "corpus", environment)
    assert done.returncode == 0, done.stderr
    made, expected = read_folder(tmp_path / "corpus"), read(folder)
    assert made.raw == expected.raw and made.knowmem == expected.knowmem
    assert f"me/tiny at {REVISION[:12]}" in made.facts["statement"]
    got = {path.split("/")[-1] for method, path, _ in hub.requests if method == "GET" and "resolve" in path}
    assert got == {"forget10.json", "retain90.json", "holdout10.json"}
    hub.shutdown()


def test_pairs_are_those_of_the_forget_split_with_the_perturbed_answers(folder):
    forgotten = [pair for number in range(7, 10) for pair in author(number)]
    plain = read(folder).pairs
    assert [pair["question"] for pair in plain] == [pair["question"] for pair in forgotten]
    assert all("alternatives" not in pair for pair in plain)
    others = [pair | {"perturbed_answer": [f"{pair['answer']} or not", "Nobody knows."]} for pair in forgotten]
    write_lines(folder / "forget10_perturbed.json", others)
    pairs = read(folder).pairs
    assert [pair["alternatives"] for pair in pairs] == [pair["perturbed_answer"] for pair in others]
    assert folder / "forget10_perturbed.json" in TOFU.origin_files(TOFU.settings(source="tofu", path=str(folder)))
    write_lines(folder / "forget10_perturbed.json", others[1:])
    with pytest.raises(ConfigError, match=r"forget10_perturbed.json: its questions are not those of forget10.json"):
        read(folder)
