# The study, where its files lie, and what makes a job run again: its own branch of the config, and the source files
# that it executes.
import os
import secrets
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod
import torch

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from relapse.study import config as study_config
from relapse.runtime.errors import RelapseError
from relapse.corpora import SOURCES
from relapse.metrics import METRICS
from relapse.metrics.utility import HarnessMetric
from relapse.runtime.device import NO_GPU
from relapse.study.preflight import trained_in
from relapse.quantization import BACKENDS
from relapse.quantization import Calibrated as CalibratedBackend
from relapse.models.files import origin_files as model_files
from relapse.runtime.code_digest import digest
from relapse.runtime.registry import with_defaults
from relapse.unlearning.methods import METHODS

if not workflow.overwrite_configfiles:

    configfile: str(ROOT / "config.yaml")


try:
    # Snakemake has read and merged these files leniently; a key that stands twice shows only in the files.
    files = workflow.overwrite_configfiles or [ROOT / "config.yaml"]
    for file in files:
        study_config.read_yaml(file)
    # Of an option that is given twice, Snakemake itself keeps the last.
    times = sum(word.split("=")[0] == "--configfile" for word in sys.argv)
    if len(workflow.overwrite_configfiles) > 1 or times > 1:
        raise RelapseError(
            "give one --configfile: a study file is complete in itself and replaces config.yaml"
        )
    with study_config.named(files[0]):
        STUDY = study_config.resolve(config)
    # Name of a model -> entry of the study file; another one only for a grid.
    ENTRIES = study_config.entry_names(config)
except RelapseError as error:
    raise WorkflowError(str(error)) from None
# The report's captions read it: with its defaults.
config.clear()
config.update(STUDY)

if any(Path(".snakemake/locks").glob("*")) and workflow.is_main_process:
    logger.warning(
        "Locked by another run, or by one that was killed. If none is running: make unlock, and run again."
    )

RESULTS = f"results/{STUDY['study']}"
# Python environments for backends that cannot live in the main one, for all studies. No study's name begins with a dot.
ENVIRONMENTS = "results/.environments"
WITH_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
CORPORA = sorted(STUDY["corpora"])
SEEDS = STUDY["seeds"]
TRAINED_MODELS = sorted({"target", "retrain"} & set(STUDY["models"]))
MODELS = TRAINED_MODELS + sorted(STUDY["methods"])
QUANTIZERS = sorted(STUDY["quantizers"])
# What an entry says of how a model is made, apart from the twin that its results are compared with.
MADE_HOW = {
    name: {key: value for key, value in entry.items() if key != "twin"}
    for name, entry in STUDY["methods"].items()
}
# What an entry says of how weights are rounded, apart from what it is applied to and what is kept of it.
ROUNDED_HOW = {
    name: {key: value for key, value in entry.items() if key not in ("methods", "keep")}
    for name, entry in STUDY["quantizers"].items()
}
BACKEND_OF = {name: BACKENDS.get(ROUNDED_HOW[name]["backend"]) for name in QUANTIZERS}
# The quantizers that look at text and write a checkpoint.
CALIBRATED = [
    name for name in QUANTIZERS if isinstance(BACKEND_OF[name], CalibratedBackend)
]
# The quantizers that round weights in the process that needs them: the others, but for full precision.
ROUNDING = [
    name
    for name in QUANTIZERS
    if BACKEND_OF[name].name != "full" and name not in CALIBRATED
]
# How metrics are run; how many quantizers share a process changes no score.
HOW_EVALUATED = {
    key: value
    for key, value in STUDY["evaluation"].items()
    if key != "quantizers_per_job"
}
# The metrics whose data lm-evaluation-harness downloads.
HARNESS = {
    name: entry
    for name, entry in STUDY["metrics"].items()
    if isinstance(METRICS.get(name), HarnessMetric)
}
MEASURED_REFERENCE = STUDY["metrics"].get("privleak", {}).get("reference") == "retrain"


def one_of(names):
    """A wildcard constraint that matches these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    corpus=one_of(CORPORA),
    model=one_of(MODELS),
    method=one_of(sorted(STUDY["methods"])),
    seed=r"\d+",


def branch(*keys):
    """One branch of the study as canonical JSON, quoted for a shell: as a parameter it changes when the branch does."""
    entry = STUDY
    for key in keys:
        entry = entry[key]
    return quoted(entry)


def quoted(entry):
    return shlex.quote(study_config.canonical(entry))


def source(*files):
    """Digest of the scripts and of the files that `files` name, with all that they import."""
    return digest(ROOT, *files)


def log_of(rule, item):
    return f"{RESULTS}/logs/{rule}/{item}.log"


def benchmark_of(rule, item):
    return f"{RESULTS}/benchmarks/{rule}/{item}.tsv"


def timings_of(rule, item):
    return f"{RESULTS}/benchmarks/{rule}/{item}.json"


def origin_files(entry):
    """The files of a local model or corpus folder that are read, as inputs; none for what comes from elsewhere."""
    if not entry.get("path"):
        return []
    if entry["source"] == "local":
        return list(map(str, model_files(Path(entry["path"]))))
    source = SOURCES.get(entry["source"])
    return list(map(str, source.origin_files(with_defaults(source.options, entry))))


def task_files():
    """The user's own tasks for lm-evaluation-harness, as inputs."""
    folders = {entry.get("include_path") for entry in STUDY["metrics"].values()}
    return [
        str(file)
        for folder in sorted(filter(None, folders))
        for file in sorted(Path(folder).rglob("*"))
        if file.is_file()
        and not any(
            part.startswith((".", "__pycache__"))
            for part in file.relative_to(folder).parts
        )
    ]


def applied_to(quantizer):
    """The models that a quantizer is applied to."""
    methods = STUDY["quantizers"][quantizer].get("methods")
    if methods is None:
        return MODELS
    return TRAINED_MODELS + [
        name
        for name in sorted(STUDY["methods"])
        if name in methods or ENTRIES[name] in methods
    ]


# Quantizers that one process scores a model under; PrivLeak's reference comes first. One that is not applied to every
# model, or that scores a checkpoint of its own, has a process to itself.
FULL_FIRST = sorted(
    (
        name
        for name in QUANTIZERS
        if name not in CALIBRATED and applied_to(name) == MODELS
    ),
    key=lambda name: (name != "full", name),
)
PER_JOB = STUDY["evaluation"]["quantizers_per_job"]
BATCHES = {
    batch[0] if len(batch) == 1 else f"{batch[0]}-to-{batch[-1]}": batch
    for batch in (
        FULL_FIRST[start : start + PER_JOB]
        for start in range(0, len(FULL_FIRST), PER_JOB)
    )
} | {name: [name] for name in QUANTIZERS if name not in FULL_FIRST}


def is_reference(wildcards, batch):
    """Whether this job scores the model that PrivLeak measures every other one against."""
    return wildcards.model == "retrain" and "full" in batch


def scored(batch):
    """What is scored: a calibrated quantizer's checkpoint, or the model, which the others quantize in memory."""
    if batch[0] in CALIBRATED:
        return f"{RESULTS}/quantized/{{corpus}}/{{model}}/seed{{seed}}/{batch[0]}"
    return f"{RESULTS}/models/{{corpus}}/{{model}}/seed{{seed}}"


def checkpoint_output(quantizer, kept):
    """A calibrated quantizer's checkpoints, of the models whose are kept or of the others."""
    keeps = (
        applied_to(quantizer) if STUDY["quantizers"][quantizer]["keep"] else ["target"]
    )
    models = [name for name in MODELS if (name in keeps) == kept]
    path = directory(
        f"{RESULTS}/quantized/{{corpus}}/{{model,{one_of(models)}}}/seed{{seed}}/{quantizer}"
    )
    return path if kept else temp(path)


def calibration_file(quantizer):
    """The user's own calibration text, as an input."""
    entry = ROUNDED_HOW[quantizer]
    return entry["calibration_path"] if entry["calibration"] == "file" else []


def gpu_where_needed(wildcards):
    """Input function, of no files: stops a run on this machine that needs a GPU which it does not have.

    On a cluster the job itself looks, since the machine that starts it may have none.
    """
    here = workflow.is_main_process and workflow.local_exec and not workflow.dryrun
    if here and STUDY["gpu"] and not torch.cuda.is_available():
        sys.exit(f"error: {NO_GPU}")
    for name in CALIBRATED if here and not torch.cuda.is_available() else ():
        if BACKEND_OF[name].needs_gpu:
            # Snakemake would put a traceback around an error of an input function.
            sys.exit(f"error: quantizers.{name}: {BACKEND_OF[name].needs_gpu}")
    return []


# What a job that trains or runs a model asks for. Locally profiles/default caps it; a cluster's scheduler sees to its own.
GPU = int(STUDY["gpu"])


resource_scopes:
    gpu="local",


def growing(number):
    """A resource that every retry asks for as much again of."""
    return lambda wildcards, attempt: attempt * number


def memory(times):
    """Main memory that a job asks for: 4 GB, and its models' weights on disk so many times; every retry as much again.

    A generous estimate for a cluster to place the job by, from models of 200 M parameters in float32 on the CPU; on a GPU
    the main memory holds the weights only while they are read and written.
    """

    def mem_mb(wildcards, input, attempt):
        for path in input:
            os.stat(path)  # before it is there, Snakemake puts the question off
        weights = sum(
            file.stat().st_size
            for path in input
            for file in Path(path).glob("*.safetensors")
        )
        return attempt * (4000 + times * weights // 10**6)

    return mem_mb


def environment_of(quantizer, room):
    """The lock under envs/ that a backend quantizes (`environment`) or is scored (`evaluation_environment`) with."""
    return getattr(BACKEND_OF[quantizer], room, None)


def built_environment(quantizer, room):
    """What a job in an environment of its own waits for; nothing for the main one."""
    name = environment_of(quantizer, room)
    return f"{ENVIRONMENTS}/{name}/built" if name else []


def python_of(quantizer, room):
    """The Python that a job runs in."""
    name = environment_of(quantizer, room)
    return f"{ENVIRONMENTS}/{name}/bin/python" if name else "python"


def privleak_records(batch):
    """Input function: the same seed's retrain model in full precision, where PrivLeak needs its records."""

    def records(wildcards):
        if not MEASURED_REFERENCE or is_reference(wildcards, batch):
            return []
        return f"{RESULTS}/metrics/{wildcards.corpus}/retrain/seed{wildcards.seed}/full.records.jsonl"

    return records


def privleak_option(batch):
    def option(wildcards, input):
        if not MEASURED_REFERENCE:
            return ""
        return "--reference " + (
            "self" if is_reference(wildcards, batch) else input.reference
        )

    return option


def stop_metrics(method):
    """The metrics that a method's stop rule looks at, with their settings."""
    return {
        name: STUDY["metrics"].get(name, {})
        for name in STUDY["methods"][method].get("stop_at", {})
    }


def stop_option(wildcards):
    """How a run that stops early is to ask."""
    if not (asked := stop_metrics(wildcards.method)):
        return ""
    return f"--metrics {quoted(asked)} --batch-size {STUDY['evaluation']['batch_size']}"


def averaged(name):
    """Whether the reconstructed average covers a model: the paper's utility-constrained methods, not points of a grid,
    and not another one's twin."""
    method = METHODS.get(STUDY["methods"][name]["method"])
    of_the_paper = method.constrained and not method.sure and ENTRIES[name] == name
    return of_the_paper and name not in {
        entry.get("twin") for entry in STUDY["methods"].values()
    }


def model_folder(wildcards):
    """What stands behind models/{corpus}/ for a model of the config: base has no seed."""
    return "base" if wildcards.place == "base" else wildcards.place.split("/")[0]


# The python that runs Snakemake runs the jobs, whether or not its environment is active; conda brings its own.
OWN_PATH = (
    "" if WITH_CONDA else f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
)
NEEDS_GPU = " RELAPSE_NEEDS_GPU=1" if GPU else ""
# glibc keeps large blocks that are freed, up to a third of a job's peak; above this size they go back to the system. On a
# GPU, torch's segments grow instead of lying about in sizes that fit nothing later.
SETTINGS = (
    f"set -euo pipefail; export {OWN_PATH}PYTHONPATH={shlex.quote(str(ROOT))} MALLOC_MMAP_THRESHOLD_=1048576"
    f" PYTORCH_ALLOC_CONF=expandable_segments:True{NEEDS_GPU}; "
)
shell.prefix(SETTINGS)


def fork_jobs():
    """Fork this run's jobs in the main environment from a process that has imported torch and transformers.

    Before a run's first job: by now it is known where jobs run. Not with a GPU, which a fork must not inherit. To debug,
    RELAPSE_PLAIN=1 in the environment starts every job as printed. relapse/runtime/job_client.py says more.
    """
    if (
        sys.platform == "linux"
        and workflow.is_main_process
        and workflow.local_exec
        and not workflow.deployment_settings.deployment_method
        and not (GPU or torch.cuda.is_available())
        and not os.environ.get("RELAPSE_PLAIN")
    ):
        client = shlex.quote(str(ROOT / "relapse" / "runtime" / "job_client.py"))
        run = f"RELAPSE_RUN={os.getpid()}-{secrets.token_hex(8)}"
        shell.prefix(
            f'{SETTINGS}python() {{{{ {run} command python -I -S {client} "$@"; }}}}; '
        )
