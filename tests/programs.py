"""The rules' programs as a run starts them: forked from a process that has imported everything."""

import os
import secrets
import subprocess
import sys

from relapse.runtime.registry import ROOT

RUN = f"{os.getpid()}-{secrets.token_hex(8)}"  # the forking process ends with this one


def run(program: str, *arguments) -> subprocess.CompletedProcess:
    """`python -m scripts.PROGRAM ARGUMENTS` in the repository's root. Its exit status, and what it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    environment |= {"PYTHONPATH": str(ROOT), "RELAPSE_RUN": RUN}
    client = [sys.executable, "-I", "-S", str(ROOT / "relapse/runtime/job_client.py")]
    command = [*client, "-m", f"scripts.{program}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
