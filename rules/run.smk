# How a run begins, starts its jobs and ends. Everything else that a SLURM cluster needs is in profiles/slurm.
from snakemake.settings.types import DeploymentMethod
import torch

from relapse.runtime import shell as jobs_shell
from relapse.study import slurm_jobs

DEPLOYMENT = workflow.deployment_settings.deployment_method
SHELL = jobs_shell.settings(
    ROOT, needs_gpu=bool(GPU), own_python=DeploymentMethod.CONDA not in DEPLOYMENT
)
shell.prefix(SHELL)


def runs_here():
    """Whether jobs run on this machine, and not on a cluster's nodes. Known only after Snakemake has read the rules."""
    return workflow.is_main_process and workflow.local_exec


def gpu_where_needed(wildcards):
    """An input function without files: ends a run on this machine that needs a GPU if the machine has none.

    On a cluster each job checks for itself, since the machine that submits it may have no GPU.
    """
    if runs_here() and not workflow.dryrun and not torch.cuda.is_available():
        for problem in GRAPH.needs_gpu:
            # An exception would make Snakemake print a traceback.
            sys.exit(f"error: {problem}")
    return []


def on_slurm():
    return workflow.executor_plugin.name == "slurm"


def fork_jobs():
    """Fork this run's jobs, where they run on this machine: not with a GPU, which a fork must not inherit, nor conda."""
    if runs_here() and not (DEPLOYMENT or GPU or torch.cuda.is_available()):
        shell.prefix(jobs_shell.forked(SHELL, ROOT))


# At this point the run holds the study's lock, so no other run is using the study.
onstart:
    fork_jobs()
    if on_slurm():
        try:
            if warning := slurm_jobs.check_none_left(Path.cwd(), RESULTS):
                logger.warning(warning)
        except RelapseError as error:
            sys.exit(f"error: {error}")


onerror:
    if on_slurm():
        logger.error(slurm_jobs.AFTER_A_FAILURE)
