"""Models made elsewhere: a Hub snapshot in the Hub's own cache layout, and a local directory."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from relapse.models import load_model, load_tokenizer
from relapse.registry import ROOT

REVISION = "0123456789abcdef0123456789abcdef01234567"


def link(settings, out, home):
    """Run the script without a network: only what lies in the cache below `home` is there."""
    command = [sys.executable, "-m", "scripts.link_model", "--settings", json.dumps(settings), "--out", str(out)]
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
        ({"source": "local", "path": "scripts"}, ["scripts holds no .safetensors weights"]),
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
