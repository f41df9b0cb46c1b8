"""Downloads from a small Hub of the test's own, with huggingface_hub itself, each in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hub_server import REVISION, Hub
from test_corpora import hub_layout, synthetic

from relapse.corpora.corpus import write
from relapse.models.loading import load_model
from relapse.runtime.registry import ROOT

DOWNLOAD = """
import json, sys
from relapse.runtime.errors import exit_on_error
from relapse.runtime.hub import snapshot
exit_on_error(lambda: print(snapshot(*json.loads(sys.argv[1]))))
"""
FILES = {"config.json": b'{"a": 1}\n', "model.safetensors": bytes(range(256)) * 4000, "notes.md": b"not asked for\n"}
PATTERNS = ["*.json", "*.safetensors"]


def environment(home: Path, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return own | {"HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"} | more


def run(command: list[str], home: Path, **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment(home, **more), capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def hub():
    server = Hub(dict(FILES), lfs=("model.safetensors",))
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(hub, tmp_path):
    """Download from the test's Hub: `fetch(repository, revision, kind, HF_TOKEN=...)`."""

    def download(repository="me/tiny", revision=REVISION, kind="model", **more):
        arguments = json.dumps([repository, revision, PATTERNS, kind])
        return run(["-c", DOWNLOAD, arguments], tmp_path / "home", **({"HF_ENDPOINT": hub.url} | more))

    return download


def folder_of(done: subprocess.CompletedProcess) -> Path:
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def refused(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


ASKED = {name: FILES[name] for name in ("config.json", "model.safetensors")}


def test_what_is_asked_for_is_downloaded_once_and_then_comes_from_the_cache(hub, fetch, tmp_path):
    folder = folder_of(fetch())
    assert content(folder) == ASKED
    assert str(folder).startswith(str(tmp_path / "home"))  # HF_HOME is honoured
    assert folder_of(fetch()) == folder
    assert [len(hub.sent(name)) for name in FILES] == [1, 1, 0]
    # Another machine's HF_HOME, copied here, is enough without a network.
    hub.requests.clear()
    assert content(folder_of(fetch(HF_HUB_OFFLINE="1"))) == ASKED
    assert not hub.requests


def test_a_cut_connection_goes_on_where_it_broke_off(hub, fetch):
    large = hub.files["model.safetensors"] = bytes(range(250)) * 50_000
    hub.cut["model.safetensors"] = [11_000_000]
    assert content(folder_of(fetch())) == ASKED | {"model.safetensors": large}
    # huggingface_hub writes in pieces of 10 MiB, so that it had the first of them.
    assert hub.sent("model.safetensors") == ["", f"bytes={10 * 2**20}-"]


def test_a_download_that_broke_off_for_good_leaves_nothing_to_trust(hub, fetch, tmp_path):
    hub.cut["model.safetensors"] = [0] * 6  # huggingface_hub tries six times
    refused(fetch(), "me/tiny", "broke off", "Run again")
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.stat().st_size > 10_000]
    assert content(folder_of(fetch())) == ASKED
    assert len(hub.sent("config.json")) == 1  # complete files were kept


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_content_that_does_not_match_its_hash_is_deleted_and_fetched_again(hub, fetch, tmp_path, name):
    hub.swapped[name] = FILES[name][::-1]  # of the same size
    refused(fetch(), name, REVISION, "Run again")
    kept = {path.resolve().read_bytes() for path in (tmp_path / "home").rglob("snapshots/*/*")}
    assert kept == {ASKED[other] for other in ASKED if other != name}
    hub.swapped.clear()
    assert content(folder_of(fetch())) == ASKED
    assert [len(hub.sent(other)) for other in ASKED] == [2 if other == name else 1 for other in ASKED]


def test_a_truncated_cache_is_noticed_without_a_network(hub, fetch, tmp_path):
    folder = folder_of(fetch())
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    refused(fetch(HF_HUB_OFFLINE="1"), "model.safetensors", "deleted from the cache")
    refused(fetch(HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE", f"hf download me/tiny --revision {REVISION}")
    assert content(folder_of(fetch())) == ASKED


def test_a_cache_without_links_is_checked_by_the_list_of_files(hub, fetch):
    folder = folder_of(fetch())
    weights = folder / "model.safetensors"
    blob = weights.resolve()
    weights.unlink()
    shutil.copy(blob, weights)
    assert content(folder_of(fetch(HF_HUB_OFFLINE="1"))) == ASKED
    weights.write_bytes(ASKED["model.safetensors"][::-1])
    refused(fetch(HF_HUB_OFFLINE="1"), "model.safetensors", "deleted")
    assert not weights.exists()


def test_gated_private_and_unknown(hub, fetch):
    hub.private_to = "right"
    page = "https://huggingface.co/me/tiny"
    refused(fetch(), "gated", "licence", page, "HF_TOKEN", "no token is set")
    refused(fetch(HF_TOKEN="wrong"), "gated", "the token that is set is of no such account")
    hub.refusal = "RepoNotFound"
    refused(fetch(), "no such model, or it is private", "HF_TOKEN")
    assert content(folder_of(fetch(HF_TOKEN="right"))) == ASKED
    refused(fetch("me/other", HF_TOKEN="right"), "me/other", "no such model", "Check the id")
    refused(fetch("me/other", kind="dataset", HF_TOKEN="right"), "no such dataset")
    refused(fetch("not/an/id"), "not/an/id", "OWNER/NAME")


def test_a_token_that_is_none(hub, fetch):
    hub.known_token = False
    refused(fetch(HF_TOKEN="expired"), "does not accept the token", "huggingface.co/settings/tokens")


@pytest.mark.parametrize("revision", ["f" * 40, "v9"])
def test_a_revision_that_there_is_not(fetch, revision):
    refused(fetch(revision=revision), revision, "no such revision", "https://huggingface.co/me/tiny/commits/main")


def test_no_network_and_nothing_in_the_cache(hub, fetch):
    refused(
        fetch(HF_HUB_OFFLINE="1"), "not in the cache", f"hf download me/tiny --revision {REVISION}", "source: local"
    )
    refused(fetch(kind="dataset", HF_HUB_OFFLINE="1"), "--repo-type dataset", "path: FOLDER")
    hub.server_close()  # nobody listens there any more
    refused(fetch(), hub.url, "cannot be reached", "HF_ENDPOINT", "HF_HUB_OFFLINE=1")


def test_too_little_room_is_said_before_anything_is_downloaded(hub, fetch, tmp_path):
    hub.stated["model.safetensors"] = 10**18
    refused(fetch(), "needs 1000000000.00 GB more", "are free", "HF_HOME")
    assert not hub.sent("model.safetensors") and not list((tmp_path / "home").rglob("blobs/*"))


def test_a_tag_leads_to_its_commit(fetch):
    assert folder_of(fetch(revision="v1")).name == REVISION


def test_a_disk_that_fills_up_while_downloading(hub, small_disk):
    disk, on_it = small_disk
    hub.files["model.safetensors"] = bytes(12_000_000)
    hub.stated["model.safetensors"] = 10  # so that it seems to fit
    arguments = json.dumps(["me/tiny", REVISION, PATTERNS, "model"])
    done = subprocess.run(
        [*on_it, sys.executable, "-c", DOWNLOAD, arguments],
        cwd=ROOT,
        env=environment(disk / "home", HF_ENDPOINT=hub.url),
        capture_output=True,
        text=True,
        timeout=120,
    )
    refused(done, "no space left", "HF_HOME", "run again")


def test_a_hub_model_is_linked_whole_or_not_at_all(tiny_llama, tmp_path):
    files = {path.name: path.read_bytes() for path in tiny_llama.iterdir()}
    hub = Hub(files, lfs=("model.safetensors",))
    settings = json.dumps({"source": "hub", "id": "me/tiny", "revision": REVISION})
    link = ["-m", "scripts.link_model", "--settings", settings, "--out", str(tmp_path / "models/target")]
    # What the Hub has is cut short itself: it agrees with its hash, but not with its own header.
    hub.files = files | {"model.safetensors": files["model.safetensors"][:-2]}
    refused(run(link, tmp_path / "short", HF_ENDPOINT=hub.url), "model.safetensors is cut short")
    hub.files, hub.swapped = files, {"model.safetensors": files["model.safetensors"][::-1]}
    refused(run(link, tmp_path / "home", HF_ENDPOINT=hub.url), "model.safetensors", "Run again")
    assert not (tmp_path / "models").exists()
    hub.swapped = {}
    done = run(link, tmp_path / "home", HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["target"]
    assert load_model(tmp_path / "models/target").config.hidden_size == 128
    hub.shutdown()


def test_the_plan_asks_how_large_models_are_and_downloads_none(tiny_llama, tmp_path):
    files = {path.name: path.read_bytes() for path in tiny_llama.iterdir()}
    hub = Hub(files, lfs=("model.safetensors",))
    study = yaml.safe_load((ROOT / "tests/workflow/mini.yaml").read_text())
    pinned = {"source": "hub", "id": "me/tiny", "revision": REVISION}
    study["models"] = {"target": pinned, "retrain": pinned | {"revision": "f" * 40}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    check = ["-m", "scripts.check_study", "--elsewhere", str(path)]
    done = run(check, tmp_path / "home", HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    rows = {line[: line.index("  ")]: line.split()[-4:] for line in done.stdout.splitlines() if "  " in line}
    size = sum(map(len, files.values())) / 1e6
    assert rows["download models.target"] == ["1", f"{size:.0f}", "MB", "?"]
    parameters = load_model(tiny_llama).num_parameters()
    assert f"{2 * parameters / 1e6:.0f} MB" in " ".join(rows["unlearn ga_gdr"])  # its disk
    assert f"me/tiny at revision {'f' * 40}" in done.stdout and "no such revision" in done.stdout
    assert hub.sent("config.json") and not hub.sent("model.safetensors")
    offline = run(check, tmp_path / "other", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0 and "HF_HUB_OFFLINE is set" in offline.stdout
    hub.shutdown()


def test_a_muse_data_set_from_the_hub(tmp_path):
    write(synthetic(), tmp_path / "muse")
    hub_layout(tmp_path / "muse", tmp_path / "repository")
    files = [path for path in (tmp_path / "repository").rglob("*") if path.is_file()]
    hub = Hub({str(path.relative_to(tmp_path / "repository")): path.read_bytes() for path in files})
    settings = {"source": "muse", "id": "me/tiny", "revision": REVISION}
    make = ["-m", "scripts.make_corpus", "--settings", json.dumps(settings), "--out", str(tmp_path / "corpus")]
    done = run(make, tmp_path / "home", HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    for part in ("raw/forget", "verbmem/forget", "knowmem/retain_qa"):
        assert (tmp_path / "corpus" / f"{part}.json").read_text() == (tmp_path / f"muse/{part}.json").read_text()
    wrong = json.dumps(settings | {"revision": "f" * 40})
    refused(
        run([*make[:3], wrong, "--out", str(tmp_path / "none")], tmp_path / "home", HF_ENDPOINT=hub.url), "revision"
    )
    assert not (tmp_path / "none").exists()
    hub.shutdown()
