"""The wheel: what it depends on, and that it runs in an environment of these packages alone."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from safetensors.torch import load_file, save_file

from relapse.runtime.registry import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOOLS = {"xllamacpp", "pytest", "pytest-xdist", "ruff", "mypy", "snakefmt"}


def test_its_dependencies_are_those_of_the_lock():
    lines = (ROOT / "envs/requirements.in").read_text().splitlines()
    locked = {line.split("#")[0].strip() for line in lines} - {""}
    listed = {*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["workflow"]}
    assert listed == {line for line in locked if re.split("[=<>]", line)[0] not in TOOLS}


def needed(requirements, found):
    """The installed distributions that these requirements ask for, and what they need in turn."""
    for text in requirements:
        wanted = Requirement(text)
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # the lock leaves it out: another platform's
            continue
        needed(found[name].requires or (), found)
    return found


@pytest.mark.slow
def test_the_wheel_audits_in_an_environment_of_its_dependencies_alone(tiny_llama, tmp_path):
    """They are linked from this environment, so that no index is asked; nothing else of it can be imported."""
    source = tmp_path / "source"
    for part in ("relapse", "scripts"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", source)
    pip = [sys.executable, "-m", "pip"]
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source]
    subprocess.run([*pip, *map(str, build)], check=True)
    venv.create(tmp_path / "env")
    (place,) = (tmp_path / "env").glob("lib/python*/site-packages")
    here = Path(sysconfig.get_path("purelib"))
    for one in needed(PROJECT["dependencies"], {}).values():
        for top in {file.parts[0] for file in one.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if (here / top).exists() and not (place / top).exists():
                (place / top).symlink_to(here / top)
    (wheel,) = tmp_path.glob("relapse-*.whl")
    install = ["--python", tmp_path / "env/bin/python", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([*pip, *map(str, install)], check=True)

    unlearned = shutil.copytree(tiny_llama, tmp_path / "unlearned")
    weights = {
        name: (tensor.float() * 1.5).bfloat16() for name, tensor in load_file(unlearned / "model.safetensors").items()
    }
    save_file(weights, unlearned / "model.safetensors", {"format": "pt"})

    def relapse(*words):
        command = [tmp_path / "env/bin/relapse", *words]
        return subprocess.run([*map(str, command)], cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True)

    done = relapse("audit", "--target", tiny_llama, "--unlearned", unlearned, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "survives: 517 cells" in done.stdout and (tmp_path / "out/audit.html").is_file()
    assert "bnb-nf4" in done.stdout
    listed = relapse("ls", "quantizers", "rtn")
    assert "group_size" in listed.stdout, listed.stderr
