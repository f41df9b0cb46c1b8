# The study, and what every rule shares. Which models, jobs, tables and figures there are is relapse/study/graph.py's.
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod
import torch

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from relapse.runtime import shell as jobs_shell
from relapse.runtime.code_digest import digest
from relapse.runtime.device import NO_GPU
from relapse.runtime.errors import RelapseError
from relapse.study.attacked import Attacked
from relapse.study.config import canonical, read_for_snakemake
from relapse.study.graph import ENVIRONMENTS, Graph, label_of, name_at, one_of
from relapse.study.products import Products

if not workflow.overwrite_configfiles:

    configfile: str(ROOT / "config.yaml")


FILES = workflow.overwrite_configfiles or [ROOT / "config.yaml"]
try:
    GRAPH = Graph(*read_for_snakemake(config, FILES, sys.argv))
except RelapseError as error:
    raise WorkflowError(str(error)) from None
PRODUCTS, ATTACKED = Products(GRAPH), Attacked(GRAPH)
STUDY, RESULTS = GRAPH.study, GRAPH.results
# The report's captions read it: with its defaults.
config.clear()
config.update(STUDY.plain())

if any(Path(".snakemake/locks").glob("*")) and workflow.is_main_process:
    logger.warning(
        "Locked by another run, or by one that was killed. If none is running: make unlock, and run again."
    )


wildcard_constraints:
    corpus=one_of(GRAPH.corpora),
    model=one_of(GRAPH.models),
    method=one_of(GRAPH.methods),
    quantizer=one_of(GRAPH.quantizers),
    attack=one_of(GRAPH.attacks),
    figure=one_of(PRODUCTS.figures),
    number=r"[123]",
    seed=r"\d+",


def quoted(settings):
    """A branch of the study as canonical JSON, quoted for a shell: as a parameter it changes when the branch does."""
    return shlex.quote(canonical(settings))


def source(*files):
    """Digest of these source files and of all that they import: as a parameter it changes when their code does."""
    return digest(ROOT, *files)


# Logs and benchmarks lie in a folder for each rule; the stop-watch of a job lies beside its benchmark.
def log_of(rule, item):
    return f"{RESULTS}/logs/{rule}/{item}.log"


def benchmark_of(rule, item, kind="tsv"):
    return f"{RESULTS}/benchmarks/{rule}/{item}.{kind}"


# What a job that trains or runs a model asks for. profiles/default caps it on one machine; a cluster's scheduler does so.
GPU = int(STUDY.gpu)


resource_scopes:
    gpu="local",


def growing(number):
    """A resource of which every retry asks for as much again."""
    return lambda wildcards, attempt: attempt * number


def weights(times):
    """Main memory in MB: 4 GB, and the weights of the job's models on disk so many times. Every retry asks for more.

    A generous estimate for a cluster, from models of 200 M parameters in float32. With a GPU the weights lie in main
    memory only while they are read and written.
    """

    def mem_mb(wildcards, input, attempt):
        for path in input:
            os.stat(path)  # before it is there, Snakemake puts the question off
        files = (file for path in input for file in Path(path).glob("*.safetensors"))
        return attempt * (
            4000 + times * sum(file.stat().st_size for file in files) // 10**6
        )

    return mem_mb


def gpu_where_needed(wildcards):
    """Input function, of no files: stops a run on this machine that needs a GPU which it does not have.

    On a cluster the job itself looks, since the machine that starts it may have none.
    """
    here = workflow.is_main_process and workflow.local_exec and not workflow.dryrun
    for problem in GRAPH.needs_gpu if here and not torch.cuda.is_available() else ():
        sys.exit(
            f"error: {problem}"
        )  # Snakemake would put a traceback around an error.
    return []


WITH_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
SHELL = jobs_shell.settings(ROOT, needs_gpu=bool(GPU), own_python=not WITH_CONDA)
shell.prefix(SHELL)


def fork_jobs():
    """Fork this run's jobs, where they run on this machine: not with a GPU, which a fork must not inherit, nor conda."""
    here = workflow.is_main_process and workflow.local_exec
    own = workflow.deployment_settings.deployment_method
    if here and not (own or GPU or torch.cuda.is_available()):
        shell.prefix(jobs_shell.forked(SHELL, ROOT))


def stop_option(metrics):
    """How a run that stops early asks: by the metrics of its stop rule, with the study's settings."""
    if not metrics:
        return ""
    return f"--metrics {quoted(metrics)} --batch-size {STUDY.evaluation.batch_size}"


def reference_option(measured, records):
    """What PrivLeak compares with: this very model, the records of retrain, or a number of the study."""
    return "" if measured is None else f"--reference {'self' if measured else records}"


def attack_options(attack, target):
    """What a job that attacks a model is given beside it: the target's folder where the attack compares with it."""
    given = [
        f"--{key} {quoted(entry)}" for key, entry in ATTACKED.given(attack).items()
    ]
    return " ".join(given + [f"--target {folder}" for folder in target])


def target_option(target):
    """The model before unlearning, for quantizers that compare a model with it."""
    return f"--target {target}" if target else ""
