"""The miniature study through profiles/slurm on a real cluster of one node, on which everything happens that can.

One run of it, `eventful`, goes through all of that: a cluster of two cores takes minutes for every further one. What a
real cluster has and this one has not: memory limits that are enforced, an accounting database, a second node.
"""

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from cluster import Cluster, until
from copies import Workflow, new_workflow

pytestmark = pytest.mark.slow

# What a cluster of seconds needs otherwise than one of hours.
QUICK = ("--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10")


class Driver:
    """Snakemake with profiles/slurm, running beside the test; `output` is what it prints."""

    def __init__(self, workflow: Workflow, cluster: Cluster, *arguments: str, study: Path | None = None):
        self.log = workflow.directory.parent / "driver.log"
        profile = str(workflow.repository / "profiles/slurm")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                workflow.command("--profile", profile, *QUICK, *arguments, study=study),
                env=cluster.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def ends(self, seconds: float = 400) -> int:
        """Its exit status; killed, with an error, where it takes longer."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"Snakemake did not end in {seconds} s:\n{self.output[-5000:]}") from None

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def running(cluster: Cluster, comment: str) -> str | None:
    """The running job with this comment."""
    return next((job for job, text in cluster.jobs("RUNNING").items() if text == comment), None)


TARGET, RETRAIN = "rule_train_wildcards_bios_target_0", "rule_train_wildcards_bios_retrain_0"
UNLEARN = "rule_unlearn_wildcards_bios_ga_gdr_0"


@dataclass
class Events:
    """The study, its SLURM jobs in the order of their submission, and the drivers' output after one was killed."""

    workflow: Workflow
    jobs: list[dict[str, str]]
    refused: str
    last: str

    def attempts(self, comment: str) -> list[dict[str, str]]:
        return [job for job in self.jobs if job["Comment"] == comment]


@pytest.fixture(scope="module")
def eventful(cluster, tmp_path_factory) -> Events:
    """The study in spite of a killed driver, a preempted job that is cancelled once it is back, and one that hangs."""
    workflow = new_workflow(tmp_path_factory.mktemp("through"))
    study = yaml.safe_load(workflow.study.read_text())
    study["evaluation"]["quantizers_per_job"] = 2  # changes no score, and saves jobs
    workflow.study.write_text(yaml.safe_dump(study, sort_keys=False))

    # The driver dies while both models are trained. retrain's job ends by itself, target's is held up.
    driver = Driver(workflow, cluster, "--until", "collect")
    until(lambda: running(cluster, TARGET) and running(cluster, RETRAIN), 180, "the training of both models")
    orphan = running(cluster, TARGET)
    cluster.ask("scontrol", "suspend", orphan)
    driver.kill()
    assert any((workflow.directory / ".snakemake/locks").iterdir())
    assert workflow.snakemake("--unlock").returncode == 0
    driver = Driver(workflow, cluster, "--until", "collect")
    assert driver.ends() != 0
    refused = driver.output
    until(lambda: not running(cluster, RETRAIN), 60, "the end of retrain's job")
    cluster.ask("scancel", orphan)
    until(lambda: cluster.job(orphan)["JobState"] == "CANCELLED", 30, "the end of target's first job")

    driver = Driver(workflow, cluster, "--until", "collect")
    # A job of a more important partition needs the whole node, for a moment.
    preempted = until(lambda: running(cluster, TARGET), 120, "target's second job")
    cluster.ask("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    until(lambda: cluster.job(preempted)["Restarts"] == "1", 30, "its preemption")
    until(lambda: running(cluster, TARGET), 60, "its return")
    cluster.ask("scancel", preempted)
    # Another one hangs, and then its time is up.
    hanging = until(lambda: running(cluster, UNLEARN), 180, "an unlearning job")
    until(lambda: cluster.hang(hanging, "scripts.unlearn"), 60, "its work")
    cluster.ask("scontrol", "update", f"JobId={hanging}", "EndTime=now+1")
    assert driver.ends() == 0, driver.output[-5000:]
    jobs = [cluster.job(job) for job in sorted(cluster.jobs(), key=int)]
    return Events(workflow, [job for job in jobs if job.get("Comment", "").startswith("rule_")], refused, driver.output)


def test_the_study_ends_with_the_bytes_of_a_local_run(eventful, finished):
    assert eventful.workflow.metrics() == finished.metrics()
    for model in ("target", "retrain", "ga_gdr", "npo_klr", "npo_klr_sure"):
        weights = f"results/mini/models/bios/{model}/seed0/model.safetensors"
        assert (eventful.workflow.directory / weights).read_bytes() == (finished.directory / weights).read_bytes()


def test_every_job_asks_for_what_its_rule_says(eventful):
    # Downloads, tables and the like ran where Snakemake ran.
    assert {"make_base", "train", "unlearn", "quantize", "evaluate"} == {
        re.match(r"rule_(make_base|[a-z]+)", job["Comment"])[1] for job in eventful.jobs
    }
    for job in eventful.jobs:
        assert job["JobName"].startswith("relapse_") and job["Requeue"] == "1"
        assert job["Partition"] == "cpu" and "TresPerJob" not in job
    (retrain,) = eventful.attempts(RETRAIN)
    assert retrain["TimeLimit"] == "04:00:00"
    weights = eventful.workflow.directory / "results/mini/models/bios/base/model.safetensors"
    assert weights.stat().st_size * 12 // 10**6 == 3
    assert retrain["MinMemoryNode"] == "4003M"


def test_jobs_outlive_a_killed_driver(eventful):
    """What they finish is kept. One that has not ended stops the next run, also once that is unlocked."""
    orphan = eventful.attempts(TARGET)[0]
    assert orphan["JobState"] == "CANCELLED"
    assert "not ended" in eventful.refused and re.search(rf"scancel .*\b{orphan['JobId']}\b", eventful.refused)
    assert "Traceback" not in eventful.refused
    assert [job["JobState"] for job in eventful.attempts(RETRAIN)] == ["COMPLETED"]


def test_a_preempted_job_returns_as_itself_and_a_cancelled_one_is_sent_again(eventful):
    _, preempted, again = eventful.attempts(TARGET)
    assert (preempted["Restarts"], preempted["JobState"]) == ("1", "CANCELLED")
    assert (again["Restarts"], again["JobState"]) == ("0", "COMPLETED")
    assert (preempted["TimeLimit"], again["TimeLimit"]) == ("04:00:00", "08:00:00")
    assert (preempted["MinMemoryNode"], again["MinMemoryNode"]) == ("4003M", "8006M")


def test_a_job_that_reaches_its_time_limit_is_sent_again_with_more(eventful):
    late, again = eventful.attempts(UNLEARN)
    assert (late["JobState"], again["JobState"]) == ("TIMEOUT", "COMPLETED")
    assert again["TimeLimit"] == "08:00:00"
    assert "SLURM status is: 'TIMEOUT'" in eventful.last


@pytest.fixture(scope="module")
def needs_gpu(eventful, tmp_path_factory) -> tuple[Path, list[str]]:
    """The same study with gpu: true, and the two models that it then has to train again."""
    models = [f"results/mini/models/bios/{name}/seed0" for name in ("target", "retrain")]
    for model in models:
        shutil.rmtree(eventful.workflow.directory / model)
    study = tmp_path_factory.mktemp("gpu") / "gpu.yaml"
    study.write_text(yaml.safe_dump(yaml.safe_load(eventful.workflow.study.read_text()) | {"gpu": True}))
    return study, models


def test_gpu_jobs_take_turns_and_ctrl_c_cancels_all(eventful, cluster, needs_gpu):
    study, models = needs_gpu
    known = set(cluster.jobs())

    def new(*states: str) -> list[str]:
        return sorted(set(cluster.jobs(*states)) - known, key=int)

    driver = Driver(eventful.workflow, cluster, "--retries", "0", *models, study=study)
    (first,) = until(lambda: new("RUNNING"), 120, "the first job")
    until(lambda: cluster.hang(first, "scripts.train"), 60, "its work")  # so that it neither ends nor fails
    # Both are sent, since profiles/default's cap on the GPU is for local runs; there is one GPU for the two.
    (second,) = until(lambda: new("PENDING"), 60, "the second job in the queue")
    assert new("RUNNING") == [first]
    driver.process.send_signal(signal.SIGINT)
    assert driver.ends(60) != 0
    # A job whose processes are still ending is COMPLETING.
    until(lambda: not new("COMPLETING"), 60, "the end of both jobs")
    for job in map(cluster.job, (first, second)):
        assert (job["Partition"], job["TresPerJob"], job["JobState"]) == ("gpu", "gres:gpu:1", "CANCELLED")
    assert not any((eventful.workflow.directory / ".snakemake").glob("locks/*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="its jobs would find a GPU")
def test_a_job_looks_for_its_gpu_itself(eventful, cluster, needs_gpu):
    """The machine that starts the study may have none. What to do about a job that failed is printed in the end."""
    study, (target, _) = needs_gpu
    driver = Driver(eventful.workflow, cluster, "--retries", "0", target, study=study)
    assert driver.ends(120) != 0
    log = eventful.workflow.directory / "results/mini/logs/train/bios-target-0.log"
    assert "gpu: true, and torch sees no GPU here" in log.read_text()
    assert "--set-resources unlearn:runtime" in driver.output
