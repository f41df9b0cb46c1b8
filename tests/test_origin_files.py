"""Of a folder that somebody else fills, only files that are read are inputs of a study."""

import shutil

import pytest
from entries import corpus_settings

from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.models.files import origin_files

OTHERS = (".git/HEAD", ".DS_Store", ".cache/huggingface/x.json", "README.md", "notes/raw.json", "optimizer.pt")
SIZES = {"forget": 2, "retain1": 2, "retain2": 2, "holdout": 2}


def litter(folder, *more):
    for name in (*OTHERS, *more):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[]")


def names(files, folder):
    return {str(file.relative_to(folder)) for file in files}


def test_a_models_files(tiny_llama, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    litter(folder, "consolidated.safetensors", "trainer_state.json", ".tokenizer.json", "requirements.txt")
    expected = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert names(origin_files(folder), folder) == expected


def test_a_muse_corpus_files(tmp_path):
    synthetic, muse = SOURCES.get("synthetic"), SOURCES.get("muse")
    write(synthetic.read(corpus_settings(**SIZES)), tmp_path)
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.json")}
    litter(tmp_path, "raw/.DS_Store", "raw/forget.json.orig", "raw/notes.txt", "privleak/forget2.json")
    settings = corpus_settings("muse", path=str(tmp_path))
    assert names(muse.origin_files(settings), tmp_path) == written
    assert muse.origin_files(corpus_settings("muse", id="a/b", revision="0" * 40)) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"split": "forget01"}, {"forget01", "retain99", "holdout01"}),
        ({"holdout": "true_facts"}, {"forget10", "retain90", "world_facts", "real_authors"}),
    ],
)
def test_tofus_files(tmp_path, settings, expected):
    tofu = SOURCES.get("tofu")
    found = tofu.origin_files(corpus_settings("tofu", path=str(tmp_path), **settings))
    assert names(found, tmp_path) == {f"{name}.json" for name in expected}
