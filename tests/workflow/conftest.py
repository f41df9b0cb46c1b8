"""A miniature study, run for real once, in a copy of the repository that tests may edit."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from relapse.registry import ROOT

HERE = Path(__file__).parent
PARTS = ("Snakefile", "config.yaml", "rules", "scripts", "relapse", "schemas", "report", "envs", "profiles")
JOB = re.compile(r"^(?:local)?rule (\w+):$", re.MULTILINE)


@dataclass
class Workflow:
    """A copy of the repository, the directory that it works in, and the study it runs."""

    repository: Path
    directory: Path
    study: Path

    def snakemake(self, *arguments: str, study: Path | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*arguments, study=study), capture_output=True, text=True)

    def command(self, *arguments: str, study: Path | None = None) -> list[str]:
        return [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(self.repository / "Snakefile")),
            *("--directory", str(self.directory), "--configfile", str(study or self.study), *arguments),
        ]

    def planned(self, study: Path | None = None) -> set[str]:
        """What a run would do now: a rule's name, and its item (corpus-model-seed-quantizer) where it has one."""
        done = self.snakemake("--dry-run", "--cores", "2", "--printshellcmds", study=study)
        assert done.returncode == 0, done.stderr + done.stdout
        logs = re.findall(r"results/\w+/logs/(\w+)/([\w.-]+)\.log(?: 2>&1)$", done.stdout + done.stderr, re.MULTILINE)
        return {f"{rule} {item}" if rule in ITEMS else rule for rule, item in logs}

    def metrics(self) -> bytes:
        return (self.directory / "results/mini/metrics.csv").read_bytes()


ITEMS = ("make_corpus", "make_base", "train", "unlearn", "evaluate", "link_model")


def new_workflow(folder: Path) -> Workflow:
    repository = folder / "repository"
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, repository / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            repository.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, repository / part)
    (folder / "work").mkdir()
    study = folder / "mini.yaml"
    shutil.copy(HERE / "mini.yaml", study)
    return Workflow(repository, folder / "work", study)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """The miniature study, finished on two cores."""
    workflow = new_workflow(tmp_path_factory.mktemp("mini"))
    done = workflow.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    return workflow


@pytest.fixture
def edited(finished, tmp_path):
    """Write an edited study: `edited(lambda study: ...)` gives the file."""

    def write(edit, **dump) -> Path:
        study = yaml.safe_load(finished.study.read_text())
        edit(study)
        path = tmp_path / "edited.yaml"
        path.write_text(yaml.safe_dump(study, **({"sort_keys": False} | dump)))
        return path

    return write
