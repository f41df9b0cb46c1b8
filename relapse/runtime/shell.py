"""What stands before the command of every job: its Python, its allocator's settings, and whether it is forked.

The workflow decides which runs may fork their jobs.
"""

import os
import secrets
import shlex
import sys
from pathlib import Path


def settings(root: Path, needs_gpu: bool, own_python: bool) -> str:
    """A prefix for the shell commands of a run.

    own_python: the Python that runs Snakemake runs the jobs, whether or not its environment is active; not with conda,
    which brings a Python for every rule.
    """
    path = f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH " if own_python else ""
    # glibc keeps large blocks that are freed, up to a third of a job's peak; larger ones now go back to the system.
    # On a GPU, torch's segments grow instead of lying about in sizes that fit nothing later.
    return (
        f"set -euo pipefail; export {path}PYTHONPATH={shlex.quote(str(root))} MALLOC_MMAP_THRESHOLD_=1048576"
        f" PYTORCH_ALLOC_CONF=expandable_segments:True{' RELAPSE_NEEDS_GPU=1' if needs_gpu else ''}; "
    )


def forked(prefix: str, root: Path) -> str:
    """`prefix`, after which `python` forks a job from a process that has imported torch and transformers.

    Call it once the run has begun: the process belongs to the one that calls. RELAPSE_PLAIN=1 in the environment starts
    every job as printed, which is what a debugger wants. Linux only. job_client.py explains how it works.
    """
    if sys.platform != "linux" or os.environ.get("RELAPSE_PLAIN"):
        return prefix
    client = shlex.quote(str(root / "relapse" / "runtime" / "job_client.py"))
    run = f"RELAPSE_RUN={os.getpid()}-{secrets.token_hex(8)}"
    return f'{prefix}python() {{{{ {run} command python -I -S {client} "$@"; }}}}; '
