"""Fixtures that more than one suite uses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from copies import Workflow, new_workflow
from tiny_llama import build_tiny_llama

# Read when torch is imported. Test files run side by side, one on a core, and models this small gain nothing by more.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> Path:
    """Directory of the tiny Llama. Session-wide: read it, never write into it."""
    return build_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tied_llama(tmp_path_factory) -> Path:
    """The wide Llama whose output head is its embedding matrix."""
    return build_tiny_llama(tmp_path_factory.mktemp("models") / "tied", True, hidden_size=256, intermediate_size=512)


@pytest.fixture(scope="session")
def wide_llama(tmp_path_factory) -> Path:
    """The tiny Llama with widths that are multiples of 256, which GGUF's k-quants need."""
    return build_tiny_llama(tmp_path_factory.mktemp("models") / "wide", hidden_size=256, intermediate_size=512)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """The miniature study, run for real once, on two cores of this machine."""
    workflow = new_workflow(tmp_path_factory.mktemp("mini"))
    done = workflow.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    return workflow


@pytest.fixture
def small_disk(tmp_path) -> tuple[Path, list[str]]:
    """A folder that is a disk of 4 MB for a command that is started with these words before it, and for nobody else."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=4m tmpfs {disk}"
    isolated = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*isolated, mount], capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    return disk, [*isolated, f'{mount} && exec "$@"', "sh"]
