"""The locks under envs/ agree with what they were made of, and conda's file with the lock."""

import re
import subprocess

import pytest
import yaml

from relapse.runtime.registry import ROOT

ENVS = ROOT / "envs"
PIN = re.compile(r"^([a-z0-9][\w.-]*==[^\\\n]*[^\\\s])", re.MULTILINE)


def pins(name: str) -> list[str]:
    return PIN.findall((ENVS / name).read_text())


@pytest.mark.parametrize("name", ["requirements", "legacy", "gptqmodel"])
def test_what_is_asked_for_is_locked(name):
    wanted = re.findall(r"^([a-z][\w.-]*)(==[\w.]+)?", (ENVS / f"{name}.in").read_text(), re.MULTILINE)
    torch, locked = pins("torch.txt"), [pin.split(" ;")[0].strip() for pin in pins(f"{name}.txt")]
    assert len(wanted) >= 5 and torch == ["torch==2.13.0"]
    for package, pinned in wanted:
        found = [pin for pin in torch + locked if pin.startswith(f"{package}==")]
        assert found and (not pinned or found == [package + pinned]), package
    assert "torch" not in {pin.split("==")[0] for pin in locked}


def test_condas_file_has_the_pins_of_the_lock():
    *_, pip = yaml.safe_load((ENVS / "conda.yaml").read_text())["dependencies"]
    assert pip["pip"] == pins("torch.txt") + pins("requirements.txt")


def test_an_environment_is_not_built_with_another_python(tmp_path):
    """The locks hold what 3.11 needs: a later one would fail halfway, in pip's words."""
    for name in ("python", "python3.11"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")  # as a Python of another version answers
        (tmp_path / name).chmod(0o755)
    command = [ENVS / "build.sh", tmp_path / "made", "legacy"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert done.returncode == 1 and not (tmp_path / "made").exists()
    assert "legacy.txt needs Python 3.11, which neither python nor python3.11 is" in done.stderr
