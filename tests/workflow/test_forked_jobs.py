"""Jobs that are forked from a process that has imported everything: they are what plain processes are, to the byte."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from copies import new_workflow
from entries import corpus_settings
from small_study import edited

from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.runtime.registry import ROOT
from relapse.study import config

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux alone")


class Run:
    """What a run of Snakemake is to its jobs: a process that lives, and an environment and a folder that they share."""

    def __init__(self, folder: Path, corpus: Path, model: Path):
        self.folder, self.corpus, self.model = folder, corpus, model
        self.process = subprocess.Popen(["sleep", "600"])
        self.environment = {key: value for key, value in os.environ.items() if key != "RELAPSE_PLAIN"} | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RELAPSE_RUN": f"{self.process.pid}-{folder.name}",
        }

    def start(self, module: str, *arguments: str, forked: bool = True) -> subprocess.Popen:
        """A job with its output and errors in a pipe."""
        client = ["-I", "-S", str(ROOT / "relapse/runtime/job_client.py")] if forked else []
        command = [sys.executable, *client, "-m", module, *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def evaluate(self, name: str, quantizer: dict, **how) -> subprocess.Popen:
        given = ["--model", self.model, "--corpus", self.corpus, "--quantizer", json.dumps(quantizer)]
        given += ["--metrics", '{"knowmem_forget": {"max_new_tokens": 8}}', "--timings", f"{name}.timings"]
        return self.start("scripts.evaluate", *given, "--out", f"{name}.json", "--records", f"{name}.jsonl", **how)

    def unlearn(self, name: str, steps: int = 3, **how) -> subprocess.Popen:
        study = config.resolve(edited(("methods/npo_klr/steps", steps), ("methods/npo_klr/lr", 1.0e-3)))
        settings = study.methods["npo_klr"].plain()
        given = ["--settings", json.dumps(settings), "--name", "npo_klr", "--target", self.model]
        return self.start("scripts.unlearn", *given, "--corpus", self.corpus, "--seed", "0", "--out", name, **how)

    def servers(self) -> list[psutil.Process]:
        """The processes of this run that have the server's command line, jobs among them."""
        found = []
        for process in psutil.process_iter():
            try:
                if "relapse.runtime.job_server" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found += [process] if process.environ()["RELAPSE_RUN"] == self.environment["RELAPSE_RUN"] else []
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def ended(job: subprocess.Popen) -> tuple[int, str]:
    """A job's exit status and its output."""
    text, _ = job.communicate(timeout=300)
    return job.returncode, text


def eventually(holds, seconds: float = 60) -> bool:
    """Whether `holds` becomes true in time."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(holds())


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_llama):
    folder = tmp_path_factory.mktemp("run")
    source = SOURCES.get("synthetic")
    sizes = {"forget": 2, "retain1": 2, "retain2": 2, "holdout": 2}
    made = source.read(corpus_settings(**sizes))
    made.knowmem["forget_icl"] = made.knowmem["forget_icl"][:1]  # ten are longer than the tiny model's context
    write(made, folder / "corpus")
    run = Run(folder, folder / "corpus", tiny_llama)
    yield run
    run.end()
    assert eventually(lambda: not run.servers())


@pytest.mark.parametrize(
    "quantizer", [{"backend": "rtn", "bits": 4, "group_size": 64}, {"backend": "bitsandbytes", "format": "nf4"}]
)
def test_scores_and_records_are_a_plain_process_s_to_the_byte(run, quantizer):
    for name, forked in (("forked", True), ("plain", False)):
        status, text = ended(run.evaluate(name, quantizer, forked=forked))
        assert status == 0 and "knowmem_forget" in text, text
    for ending in ("json", "jsonl"):
        assert (run.folder / f"forked.{ending}").read_bytes() == (run.folder / f"plain.{ending}").read_bytes()


def test_unlearned_weights_are_a_plain_process_s_to_the_byte(run):
    for name, forked in (("forked", True), ("plain", False)):
        assert ended(run.unlearn(name, forked=forked))[0] == 0
    for file in ("model.safetensors", "training.json"):
        assert (run.folder / "forked" / file).read_bytes() == (run.folder / "plain" / file).read_bytes()


def test_jobs_run_side_by_side_each_with_its_own_output(run):
    jobs = [run.evaluate(f"{name}", {"backend": "full"}) for name in ("one", "two")]
    assert eventually(lambda: len(run.servers()) == 3)  # the server and two jobs
    assert [status for status, _ in map(ended, jobs)] == [0, 0]
    timings = json.loads((run.folder / "two.timings").read_text())
    assert 0 < timings["timings"]["imports"] < 60 and 100 < timings["max_rss_mb"] < 2000


def test_nothing_runs_in_the_server_beside_its_own_thread(run):
    assert ended(run.evaluate("any", {"backend": "full"}))[0] == 0
    assert eventually(lambda: len(run.servers()) == 1)
    assert run.servers()[0].num_threads() == 1


def test_an_error_is_said_and_ends_as_a_plain_process_does(run):
    for arguments, status in ((["--model", "nowhere", "--corpus", run.corpus, "--out", "x.json"], 1), (["--wrong"], 2)):
        forked, plain = (ended(run.start("scripts.evaluate", *arguments, forked=how)) for how in (True, False))
        assert forked == plain and forked[0] == status and "error: " in forked[1]


def test_a_program_that_is_not_served_runs_as_it_is(run):
    assert ended(run.start("scripts.collect", "--help"))[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_job_and_ends_the_client_as_it_ended_the_job(run, number):
    job = run.unlearn(f"signal-{number}", steps=400)
    assert any(line.startswith("step") for line in job.stdout)
    job.send_signal(number)
    status, text = ended(job)
    # torch may turn an interrupt in the middle of a backward pass into an error of its own.
    assert status == -number or (number == signal.SIGINT and status == 1), text
    assert ("KeyboardInterrupt" in text) == (number == signal.SIGINT), text
    assert len(run.servers()) == 1


def test_a_job_ends_with_its_client(run):
    job = run.unlearn("killed", steps=400)
    assert any(line.startswith("step") for line in job.stdout)
    assert len(run.servers()) == 2
    job.kill()
    assert eventually(lambda: len(run.servers()) == 1)
    job.communicate()


def test_a_job_that_is_killed_says_so(run):
    job = run.unlearn("killed", steps=400)
    assert any(line.startswith("step") for line in job.stdout)
    max(run.servers(), key=psutil.Process.create_time).kill()
    assert ended(job)[0] == -signal.SIGKILL


def test_jobs_and_server_end_with_the_run(run):
    other = Run(run.folder, run.corpus, run.model)
    other.environment["RELAPSE_RUN"] += "-other"
    job = other.unlearn("orphan", steps=400)
    assert any(line.startswith("step") for line in job.stdout)
    other.end()
    assert ended(job)[0] == 1
    assert eventually(lambda: not other.servers())


def test_snakemake_killed_alone_leaves_no_process(tmp_path):
    """SIGKILL of Snakemake itself, in the middle of training: no job, server or client of its folder is left."""
    workflow = new_workflow(tmp_path)
    run = subprocess.Popen(workflow.command("--cores", "1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = workflow.directory / "results/mini/logs/train/bios-target-0.log"
    assert eventually(lambda: log.is_file() and "step" in log.read_text(), 300)

    run.kill()
    run.wait()

    def at_work() -> list[int]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(workflow.directory):
                    found.append(process.pid)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    assert eventually(lambda: not at_work())


PROBE = """

rule probe:
    output: "probe.txt"
    localrule: True
    shell: "type python > {output}"
"""


@pytest.mark.parametrize(
    ("arguments", "environment", "forked"),
    [
        ([], {}, True),
        ([], {"RELAPSE_PLAIN": "1"}, False),
        (["--sdm", "env-modules"], {}, False),  # as with conda, which a test machine may lack
        (["--executor", "slurm", "--jobs", "1"], {}, False),
    ],
)
def test_clusters_conda_and_who_asks_for_it_get_plain_processes(tmp_path, arguments, environment, forked):
    """The job prints which `python` it runs; squeue prints an empty queue."""
    workflow = new_workflow(tmp_path)
    with (workflow.repository / "Snakefile").open("a") as file:
        file.write(PROBE)
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\n")
    squeue.chmod(0o755)
    path = {"PATH": f"{squeue.parent}:{os.environ['PATH']}"}
    command = [*workflow.command("--cores", "1", *arguments), "--", "probe"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | path | environment)
    assert done.returncode == 0, done.stderr
    text = (workflow.directory / "probe.txt").read_text()
    assert ("job_client.py" in text) == forked, text
