"""A study in a copy of the repository, which tests may run, edit and break."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import planning_process

from relapse.runtime.registry import ROOT

HERE = Path(__file__).parent
PARTS = ("Snakefile", "config.yaml", "rules", "scripts", "relapse", "schemas", "report", "envs", "profiles")
# Rules that run once for an item; the others run once for a study.
ITEMS = ("make_corpus", "make_base", "link_model", "train", "unlearn", "quantize", "evaluate", "absorption")
ITEMS += ("table", "figure", "attack")
JOB = re.compile(r"> results/\w+/logs/(\w+)/([\w./-]+)\.log 2>&1")


@dataclass
class Workflow:
    """A copy of the repository, the directory that it works in, and the study it runs."""

    repository: Path
    directory: Path
    study: Path

    def snakemake(self, *arguments: str, study: Path | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*arguments, study=study), capture_output=True, text=True)

    def dry_run(self, *arguments: str, study: Path | None = None) -> subprocess.CompletedProcess:
        return planning_process.planned(["--dry-run", *self.arguments(*arguments, study=study)])

    def command(self, *arguments: str, study: Path | None = None) -> list[str]:
        return [sys.executable, "-m", "snakemake", *self.arguments(*arguments, study=study)]

    def arguments(self, *arguments: str, study: Path | None = None) -> list[str]:
        return [
            *("--snakefile", str(self.repository / "Snakefile"), "--directory", str(self.directory)),
            *("--configfile", str(study or self.study), *arguments),
        ]

    def planned(self, study: Path | None = None) -> set[str]:
        """What a run would do now: a rule's name, and its item (corpus-model-seed-quantizer) where it has one."""
        done = self.dry_run("--cores", "2", "--printshellcmds", study=study)
        assert done.returncode == 0, done.stderr + done.stdout
        jobs = JOB.findall(done.stdout + done.stderr)
        return {f"{rule} {item.replace('/', '-')}" if rule in ITEMS else rule for rule, item in jobs}

    def metrics(self) -> bytes:
        return (self.directory / "results/mini/metrics.csv").read_bytes()


def new_workflow(folder: Path, name: str = "mini.yaml") -> Workflow:
    """A fresh copy below `folder` with the study `name`, with nothing run yet."""
    repository = folder / "repository"
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, repository / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            repository.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, repository / part)
    (folder / "work").mkdir()
    study = folder / name
    shutil.copy(HERE / name, study)
    return Workflow(repository, folder / "work", study)
