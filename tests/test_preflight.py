"""What only a study's files, or several of its keys together, can tell: models and corpora on this disk."""

import json
import os
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from entries import corpus_settings
from small_study import edited, problems

from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.study import config


@pytest.fixture
def model(tiny_llama, tmp_path) -> Path:
    """A copy of the tiny Llama (hidden 128, feed-forward 384, context 512) that a test may damage."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


@pytest.fixture
def corpus(tmp_path) -> Path:
    """A small folder in MUSE's layout."""
    source = SOURCES.get("synthetic")
    settings = corpus_settings(forget=2, retain1=2, retain2=2, holdout=2)
    write(source.read(settings), tmp_path / "muse")
    return tmp_path / "muse"


def local(model: Path, *edits: tuple[str, Any], context: int = 4096) -> dict:
    """The minimal study on a local target and retrain with a context of so many tokens."""
    rewrite(model / "config.json", lambda settings: settings.update(max_position_embeddings=context))
    entry = {"source": "local", "path": str(model)}
    return edited(("models", {"target": entry, "retrain": dict(entry)}), *edits)


def rewrite(path: Path, change: Any) -> None:
    """Apply `change` to the object in a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def shard(model: Path) -> None:
    """Cut model.safetensors into two shards with an index, tensor by tensor."""
    raw = (model / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    header.pop("__metadata__", None)
    weight_map = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(sorted(header))}
    for file in set(weight_map.values()):
        own, body = {}, b""
        for name in (name for name in weight_map if weight_map[name] == file):
            start, end = header[name]["data_offsets"]
            own[name] = header[name] | {"data_offsets": [len(body), len(body) + end - start]}
            body += data[start:end]
        text = json.dumps(own).encode()
        (model / file).write_bytes(struct.pack("<Q", len(text)) + text + body)
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_a_local_model_and_a_local_corpus_are_accepted(model, corpus):
    entry = {"source": "muse", "path": str(corpus)}
    assert config.resolve(local(model, ("corpora/bios", entry))).corpora["bios"].path == str(corpus)


def test_a_sharded_model_is_read_from_all_its_shards(model):
    config.resolve(local(model))
    shard(model)
    config.resolve(local(model))
    lines = problems(local(model, ("quantizers/int4/group_size", 96)))
    assert len(lines) == 1 and "group_size 96 does not divide the input width 128" in lines[0]
    (model / "part-1.safetensors").unlink()
    assert all("part-1.safetensors" in line for line in problems(local(model)))


DAMAGE = [
    (lambda model: (model / "config.json").rename(model / "other.json"), "has no config.json"),
    (lambda model: (model / "config.json").write_text("{"), "config.json: not valid JSON"),
    (lambda model: (model / "model.safetensors").rename(model / "model.bin"), r"has no weights.*model.bin"),
    (lambda model: (model / "model.safetensors").write_text("version https://git-lfs"), "is not a safetensors file"),
    (lambda model: (model / "model.safetensors").write_bytes(b""), "is not a safetensors file"),
    (lambda model: os.truncate(model / "model.safetensors", 100_000), "cut short"),
    (lambda model: (model / "tokenizer.json").unlink(), "has no tokenizer"),
    (lambda model: (model / "tokenizer.json").write_text("{}"), "is not a tokenizer"),
    (lambda model: rewrite(model / "config.json", lambda content: content.update(vocab_size=7)), "vocab_size 7"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), DAMAGE, ids=[words for _, words in DAMAGE])
def test_a_damaged_model_directory_is_named(model, damage, words):
    wrong = local(model)
    damage(model)
    lines = problems(wrong)
    assert [line.split(": ")[0] for line in lines] == ["models.target", "models.retrain"]
    assert re.search(words, lines[0]) and str(model) in lines[0]


def test_of_a_tokenizer_larger_than_the_embedding_only_tokens_that_occur_need_a_row(model):
    wrong, path = local(model), model / "tokenizer.json"
    rewrite(path, lambda content: content["model"]["vocab"].update({"<more>": 9998}))
    config.resolve(wrong)
    rewrite(path, lambda content: content["model"]["vocab"].update({"o": 9999}))
    first, _ = problems(wrong)
    assert re.search(r"models\.target: corpora\.\w+: the token 'o' \(9999\) of .* has no row", first)


def test_group_sizes_are_held_against_the_local_weights(model):
    (line,) = problems(local(model, ("quantizers/int4/group_size", 48)))
    assert line.startswith("quantizers.int4: does not fit models.target") and "width 128" in line


def test_windows_longer_than_a_local_context_are_refused(model):
    (line,) = problems(local(model, ("methods/npo_klr/max_length", 4097)))
    assert line.startswith("methods.npo_klr.max_length: is 4097, must be at most 4096")
    # A base that target and retrain are trained from bounds the windows of all three.
    base = {"source": "local", "path": str(model)}
    too_long = [("models/target/max_length", 5000), ("methods/npo_klr/max_length", 5000)]
    lines = problems(edited(("models/base", base), *too_long))
    assert [line.split(": ")[0] for line in lines] == ["models.target.max_length", "methods.npo_klr.max_length"]


def test_prompts_longer_than_a_local_context_are_refused(model):
    short = [("methods/npo_klr/max_length", 64), ("metrics/knowmem_forget", {"max_new_tokens": 7})]
    lines = problems(local(model, *short, context=135))
    assert [line.split(": ")[0] for line in lines] == ["metrics.verbmem_forget", "metrics.knowmem_forget"]
    assert "the longest prompt of corpora.bios" in lines[1] and "7 new tokens" in lines[1] and "is 135" in lines[1]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("knowmem/forget_qa_icl.json", None, "missing MUSE file"),
        ("verbmem/forget.json", "[1", "not valid JSON"),
        ("verbmem/forget.json", '[{"prompt": "a"}]', "item 0 has no text under 'gt'"),
        ("raw/retain1.json", "[]", "non-empty JSON list"),
        ("privleak/holdout.json", '["a", 3]', "item 1 is not a non-empty text"),
    ],
)
def test_a_malformed_corpus_is_named_by_file_and_item(corpus, file, content, words):
    if content is None:
        (corpus / file).unlink()
    else:
        (corpus / file).write_text(content)
    (line,) = problems(edited(("corpora/bios", {"source": "muse", "path": str(corpus)})))
    assert line.startswith("corpora.bios: ") and words in line and file in line


def test_prompts_longer_than_the_context_of_a_base_made_here_are_refused():
    (line,) = problems(edited(("models/base/architecture/max_position_embeddings", 200)))
    assert line.startswith("metrics.knowmem_") and "the context of models.base" in line and "is 200" in line
