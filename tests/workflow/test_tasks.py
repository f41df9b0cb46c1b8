"""Data of lm-evaluation-harness's tasks is fetched by a rule of its own, before scoring and where Snakemake runs."""

import json
import re

import pytest
import yaml
from copies import new_workflow
from test_utility import MULTIPLE_CHOICE


@pytest.fixture
def workflow(tmp_path, monkeypatch):
    """The miniature study with MMLU, on a task whose data are a local file, and no network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "choice.json").write_text(json.dumps([{"question": "Where?", "choices": ["Lund", "Oslo"], "answer": 0}]))
    (folder / "choice.yaml").write_text(MULTIPLE_CHOICE.format(folder=folder))
    workflow = new_workflow(tmp_path)
    study = yaml.safe_load(workflow.study.read_text())
    study["metrics"]["mmlu"] = {"tasks": ["local_choice"], "include_path": str(folder)}
    workflow.study.write_text(yaml.safe_dump(study))
    return workflow


def dry_run(workflow) -> str:
    done = workflow.dry_run("--cores", "1", "--printshellcmds")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_scoring_job_waits_for_the_data_and_reads_the_cache_alone(workflow):
    """Of five models under two quantizers, and of three under the calibrated one."""
    planned = dry_run(workflow)
    waiting = re.findall(
        r"^Job \d+: Score .*\nReason: .*updated by another job: .*results/mini/tasks\.txt", planned, re.M
    )
    assert len(waiting) == planned.count("HF_HUB_OFFLINE=1 python -m scripts.evaluate") == 5 + 5 + 3
    # Fetched, and loaded again from the cache alone.
    assert re.search(r"python -m scripts\.fetch_tasks .*; HF_HUB_OFFLINE=1 python -m scripts\.fetch_tasks", planned)


def test_the_rule_fetches_what_its_tasks_ask(workflow):
    done = workflow.snakemake("--cores", "1", "--until", "fetch_tasks")
    assert done.returncode == 0, done.stderr
    assert (workflow.directory / "results/mini/tasks.txt").read_text() == "mmlu local_choice 1\n"


def test_a_task_that_cannot_be_had_ends_the_run_at_its_beginning(workflow):
    study = yaml.safe_load(workflow.study.read_text())
    study["metrics"]["mmlu"]["tasks"] = ["local_choise"]
    workflow.study.write_text(yaml.safe_dump(study))
    done = workflow.snakemake("--cores", "1")
    assert done.returncode != 0
    assert "no task 'local_choise'" in done.stderr and "Did you mean 'local_choice'" in done.stderr
    assert "Traceback" not in done.stderr and not (workflow.directory / "results/mini/tasks.txt").exists()
    assert not (workflow.directory / "results/mini/models/bios/target").exists()


def test_a_study_without_the_harness_fetches_nothing(tmp_path):
    planned = dry_run(new_workflow(tmp_path))
    assert "scripts.evaluate" in planned
    assert not re.search(r"fetch_tasks|tasks\.txt|HF_HUB_OFFLINE", planned)
