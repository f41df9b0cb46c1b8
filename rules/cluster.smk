# What only a run on a SLURM cluster needs; everything else about one is in profiles/slurm.
from relapse.study import slurm_jobs


def on_slurm():
    return workflow.executor_plugin.name == "slurm"


# By now this run holds the study's lock: its jobs are not another living run's.
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
