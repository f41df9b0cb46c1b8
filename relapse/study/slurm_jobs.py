"""SLURM jobs of an earlier run, which outlive a killed Snakemake and would write what the next one writes.

This module reads squeue and the marks that Snakemake's executor gives its jobs. The executor submits, watches and
cancels them.
"""

import subprocess
from pathlib import Path

from relapse.runtime.errors import RelapseError

AFTER_A_FAILURE = (
    "Where SLURM reports TIMEOUT or OUT_OF_MEMORY above, the last attempt asked for too little. Ask for more, such as "
    "--set-resources unlearn:runtime=2880 (minutes) or unlearn:mem_mb=200000, and run again: what is finished is kept."
)


def left_behind(folder: Path) -> list[str]:
    """Ids of this user's SLURM jobs that Snakemake submitted from `folder` and that have not ended.

    Raises RelapseError where squeue cannot tell.
    """
    # The executor's comment is rule_NAME_wildcards_..., without spaces; its working directory is Snakemake's.
    command = ["squeue", "--me", "--noheader", "--format=%A %k %Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", None) or error
        raise RelapseError(f"squeue does not report whether an earlier run's jobs are still there: {detail}") from None
    jobs = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [
        job[0]
        for job in jobs
        if len(job) == 3 and job[1].startswith("rule_") and Path(job[2]).resolve() == folder.resolve()
    ]


def others_run(folder: Path, results: str) -> bool:
    """Whether Snakemake's locks in `folder` name files outside `results`: another study runs from there."""
    locks = (folder / ".snakemake/locks").glob("*.output.lock")
    ours = (f"{results}/", "results/.")  # what is for all studies begins with a dot
    return any(not line.startswith(ours) for lock in locks for line in lock.read_text().splitlines())


def check_none_left(folder: Path, results: str) -> str | None:
    """Raise RelapseError, with what to do, where an earlier run in `folder` has left jobs behind.

    Where another study runs from there, whose jobs look the same to SLURM, this is the caller's to tell instead:
    returned as a warning.
    """
    if jobs := left_behind(folder):
        if others_run(folder, results):
            return (
                f"Another study runs from {folder}. If an earlier run of this one was killed, some of these jobs are "
                f"its own and would write the same files: {' '.join(jobs)}"
            )
        raise RelapseError(
            f"SLURM jobs of an earlier run in {folder} have not ended, and would write the same files. Wait for them, "
            f"since what they finish is kept, or cancel them; then run again. scancel {' '.join(jobs)}"
        )
    return None
