"""Dry runs that do not import Snakemake and torch each time: forks of a process that has imported both.

The process must not import relapse: every workflow runs the package of its own copy of the repository.
"""

import multiprocessing
import os
import subprocess
import tempfile
from functools import cache


@cache
def context():
    """The process that dry runs are forked from, for this test session."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["snakemake.cli", "torch", "pydantic"])
    return forks


def run(arguments: list[str], out: str, errors: str) -> None:
    """Snakemake with these arguments in this process, what it prints going to two files."""
    import sys

    from snakemake.cli import main

    assert "relapse" not in sys.modules
    for path, descriptor in ((out, 1), (errors, 2)):
        file = os.open(path, os.O_WRONLY)
        os.dup2(file, descriptor)
    main(arguments)


def planned(arguments: list[str]) -> subprocess.CompletedProcess:
    """What `snakemake ARGUMENTS` in a process of its own returns and prints."""
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as errors:
        process = context().Process(target=run, args=(arguments, out.name, errors.name))
        process.start()
        process.join()
        return subprocess.CompletedProcess(arguments, process.exitcode, out.read(), errors.read())
