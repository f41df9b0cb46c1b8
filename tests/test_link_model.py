"""Models made elsewhere: a Hub snapshot in the Hub's own cache layout, and a local directory."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from relapse.models import bfloat16_copy
from relapse.models.loading import load_model, load_tokenizer
from relapse.models.weights import read_tensors
from relapse.runtime.errors import RelapseError
from relapse.runtime.registry import ROOT

REVISION = "0123456789abcdef0123456789abcdef01234567"


def link(settings, out, home, *options):
    """Run the script without a network: only what lies in the cache below `home` is there."""
    command = [sys.executable, "-m", "scripts.link_model", "--settings", json.dumps(settings), "--out", str(out)]
    command += options
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture
def home(tiny_llama, tmp_path):
    """A Hugging Face home that holds one revision of `me/tiny`."""
    repository = tmp_path / "home/hub/models--me--tiny"
    shutil.copytree(tiny_llama, repository / "snapshots" / REVISION)
    return tmp_path / "home"


def test_a_pinned_hub_snapshot_is_linked(home, tmp_path):
    done = link({"source": "hub", "id": "me/tiny", "revision": REVISION}, tmp_path / "model", home)
    assert done.returncode == 0, done.stderr
    assert "no hash is known" in done.stdout  # of a folder copied by hand, without the cache's blobs
    weights = tmp_path / "model/model.safetensors"
    assert weights.is_symlink() and REVISION in str(weights.resolve())
    assert load_model(tmp_path / "model").config.hidden_size == 128


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"source": "hub", "id": "me/tiny", "revision": "f" * 40},
            ["me/tiny", "f" * 40, "OFFLINE", "source: local"],
        ),
        ({"source": "hub", "id": "me/other", "revision": REVISION}, ["me/other"]),
        ({"source": "local", "path": "scripts"}, ["scripts is no model directory: it has no config.json"]),
    ],
)
def test_what_is_not_there_is_named(home, tmp_path, settings, words):
    done = link(settings, tmp_path / "model", home)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "model").exists()


def test_a_tokenizer_from_another_repository(home, tiny_llama, tmp_path):
    """As MUSE's models have it: weights here, Llama-2's tokenizer there."""
    weights = home / "hub/models--me--tiny/snapshots" / REVISION
    other = home / "hub/models--me--words/snapshots" / REVISION
    other.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (weights / name).rename(other / name)
    settings = {"source": "hub", "id": "me/tiny", "revision": REVISION}
    words = settings | {"tokenizer": {"id": "me/words", "revision": REVISION}}
    done = link(words, tmp_path / "model", home)
    assert done.returncode == 0, done.stderr
    assert load_tokenizer(tmp_path / "model")("Ada")["input_ids"] == load_tokenizer(tiny_llama)("Ada")["input_ids"]
    missing = link(settings | {"tokenizer": {"id": "me/none", "revision": REVISION}}, tmp_path / "other", home)
    assert missing.returncode == 1 and "me/none" in missing.stderr and not (tmp_path / "other").exists()


def stored_as(folder, out, dtype, **options):
    """The model of `folder` in another number format, beside its tokenizer."""
    load_model(folder).to(dtype).save_pretrained(out, **options)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, out)
    return {"source": "local", "path": str(out)}


def odd_weights(folder, tmp_path):
    """A model whose weights are no bfloat16 values: a third of the tiny one's."""
    model = load_model(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.div_(3)
    model.save_pretrained(tmp_path / "odd")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path / "odd")
    return tmp_path / "odd"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("options", [{}, {"max_shard_size": "300KB"}], ids=["one file", "sharded"])
def test_other_number_formats_are_rounded_to_bfloat16(tiny_llama, tmp_path, dtype, options):
    entry = stored_as(odd_weights(tiny_llama, tmp_path), tmp_path / "given", dtype, **options)
    done = link(entry, tmp_path / "model", tmp_path)
    assert done.returncode == 0, done.stderr
    given, made = read_tensors(tmp_path / "given"), read_tensors(tmp_path / "model")
    assert given.keys() == made.keys()
    for name, weight in made.items():
        assert weight.dtype == torch.bfloat16 and torch.equal(weight, given[name].bfloat16())
        assert not torch.equal(weight.float(), given[name].float())
    assert json.loads((tmp_path / "model/config.json").read_text())["dtype"] == "bfloat16"
    assert (tmp_path / "model/tokenizer.json").is_symlink()
    files = sorted(file.name for file in (tmp_path / "given").glob("*.safetensors"))
    assert len(files) > 1 if options else files == ["model.safetensors"]
    for file in files:
        assert not (tmp_path / "model" / file).is_symlink()
        assert f"{file}: {str(dtype).removeprefix('torch.')} rounded to bfloat16" in done.stdout
    if options:
        index = json.loads((tmp_path / "model/model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(weight.nbytes for weight in made.values())
        before = json.loads((tmp_path / "given/model.safetensors.index.json").read_text())
        assert index["weight_map"] == before["weight_map"]
    loaded = load_model(tmp_path / "model")
    assert all(torch.equal(weight, made[name].float()) for name, weight in loaded.state_dict().items())


def test_only_what_is_not_bfloat16_is_copied(tiny_llama, tmp_path):
    """One shard in float32 with whole numbers in it, the other in bfloat16 already; an old config.json."""
    given = tmp_path / "given"
    shutil.copytree(tiny_llama, given)
    weights = read_tensors(given)
    (given / "model.safetensors").unlink()
    names = sorted(weights)
    old, wide = ({name: weights[name] for name in names[place::2]} for place in (0, 1))
    wide = {name: weight.float() / 3 for name, weight in wide.items()} | {"steps": torch.tensor([7])}
    save_file(old, given / "part-0.safetensors", {"format": "pt"})
    save_file(wide, given / "part-1.safetensors", {"format": "pt"})
    weight_map = dict.fromkeys(old, "part-0.safetensors") | dict.fromkeys(wide, "part-1.safetensors")
    (given / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    config = json.loads((given / "config.json").read_text())
    del config["dtype"]
    (given / "config.json").write_text(json.dumps(config | {"torch_dtype": "float32"}))
    done = link({"source": "local", "path": str(given)}, tmp_path / "model", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model/part-0.safetensors").is_symlink()
    assert not (tmp_path / "model/part-1.safetensors").is_symlink()
    made = read_tensors(tmp_path / "model")
    assert made["steps"].tolist() == [7] and made["steps"].dtype == torch.int64
    assert all(torch.equal(made[name], wide[name].bfloat16()) for name in wide if name != "steps")
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["torch_dtype"] == "bfloat16" and "dtype" not in config
    assert json.loads((tmp_path / "model/model.safetensors.index.json").read_text()) == {"weight_map": weight_map}


def test_bfloat16_is_linked_and_so_is_what_is_asked_for_as_stored(tiny_llama, tmp_path):
    done = link({"source": "local", "path": str(tiny_llama)}, tmp_path / "model", tmp_path)
    assert done.returncode == 0 and "rounded" not in done.stdout
    assert all(file.is_symlink() for file in (tmp_path / "model").iterdir())
    entry = stored_as(tiny_llama, tmp_path / "given", torch.float32)
    done = link(entry, tmp_path / "base", tmp_path, "--as-stored")
    assert done.returncode == 0 and "rounded" not in done.stdout
    assert all(file.is_symlink() for file in (tmp_path / "base").iterdir())


def test_a_quantized_checkpoint_is_no_model_to_begin_with(tiny_llama, tmp_path):
    shutil.copytree(tiny_llama, tmp_path / "given")
    config = json.loads((tmp_path / "given/config.json").read_text())
    (tmp_path / "given/config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    done = link({"source": "local", "path": str(tmp_path / "given")}, tmp_path / "model", tmp_path)
    assert done.returncode == 1 and "is quantized" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "model").exists()


def test_no_room_for_a_copy_is_told_with_its_size(tiny_llama, tmp_path, monkeypatch):
    stored_as(tiny_llama, tmp_path / "given", torch.float32)
    file = tmp_path / "given/model.safetensors"
    numbers = sum(weight.numel() for weight in read_tensors(tmp_path / "given").values())
    assert bfloat16_copy.to_round([file, tmp_path / "given/config.json"]) == {file: ["float32"]}
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2 * numbers))
    bfloat16_copy.require_room([file], tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2 * numbers - 1))
    with pytest.raises(RelapseError, match=r"bfloat16 needs 0\.00 GB .* make room"):
        bfloat16_copy.require_room([file], tmp_path)
