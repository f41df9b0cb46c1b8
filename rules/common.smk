# The study, where its files lie, and what makes a job run again: its own branch of the config, and the source files
# that it executes.
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from relapse import config as study_config
from relapse.errors import RelapseError
from relapse.corpora import SOURCES
from relapse.metrics import METRICS
from relapse.quantization import BACKENDS
from relapse.sources import digest
from relapse.unlearning.methods import METHODS

if not workflow.overwrite_configfiles:

    configfile: str(ROOT / "config.yaml")


try:
    # Snakemake has read and merged these files leniently; a key that stands twice shows only in the files.
    for file in workflow.overwrite_configfiles or [ROOT / "config.yaml"]:
        study_config.read_yaml(file)
    if len(workflow.overwrite_configfiles) > 1:
        raise RelapseError(
            "give one --configfile: a study file is complete in itself and replaces config.yaml"
        )
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
CORPORA = sorted(STUDY["corpora"])
SEEDS = STUDY["seeds"]
TRAINED_MODELS = sorted({"target", "retrain"} & set(STUDY["models"]))
MODELS = TRAINED_MODELS + sorted(STUDY["methods"])
QUANTIZERS = sorted(STUDY["quantizers"])
# The quantizers that round weights: all but full precision.
ROUNDING = [
    name for name in QUANTIZERS if STUDY["quantizers"][name]["backend"] != "full"
]
# How metrics are run; how many quantizers share a process changes no score.
HOW_EVALUATED = {
    key: value
    for key, value in STUDY["evaluation"].items()
    if key != "quantizers_per_job"
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
    """The files of a local model or corpus folder, as inputs; none for what comes from elsewhere."""
    return (
        sorted(str(file) for file in Path(entry["path"]).rglob("*") if file.is_file())
        if entry.get("path")
        else []
    )


# Quantizers that one process scores a model under; PrivLeak's reference comes first.
FULL_FIRST = sorted(QUANTIZERS, key=lambda name: (name != "full", name))
PER_JOB = STUDY["evaluation"]["quantizers_per_job"]
BATCHES = {
    batch[0] if len(batch) == 1 else f"{batch[0]}-to-{batch[-1]}": batch
    for batch in (
        FULL_FIRST[start : start + PER_JOB]
        for start in range(0, len(FULL_FIRST), PER_JOB)
    )
}


def is_reference(wildcards, batch):
    """Whether this job scores the model that PrivLeak measures every other one against."""
    return wildcards.model == "retrain" and "full" in batch


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


def stops_early(method):
    return STUDY["methods"][method].get("stop_at") is not None


def stop_option(wildcards):
    """What a run that stops when it has forgotten needs to know: how to ask."""
    if not stops_early(wildcards.method):
        return ""
    return f"--knowmem {branch('metrics', 'knowmem_forget')} --batch-size {STUDY['evaluation']['batch_size']}"


def averaged(name):
    """Whether the reconstructed average covers a model: the paper's utility-constrained methods, not points of a grid."""
    method = METHODS.get(STUDY["methods"][name]["method"])
    return method.constrained and not method.sure and ENTRIES[name] == name


def model_folder(wildcards):
    """What stands behind models/{corpus}/ for a model of the config: base has no seed."""
    return "base" if wildcards.place == "base" else wildcards.place.split("/")[0]


# The python that runs Snakemake runs the jobs, whether or not its environment is active.
shell.prefix(
    f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    f" PYTHONPATH={shlex.quote(str(ROOT))}; "
)
