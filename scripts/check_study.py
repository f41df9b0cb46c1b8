"""Check a study file before Snakemake reads it, and say what it will take: memory, disk and time of each kind of job.

A study that cannot fit this machine is refused, with the settings that would. With --elsewhere its jobs run on other
machines, each of which looks for itself.
"""

import argparse
import shutil

import torch

from relapse import config
from relapse.errors import RelapseError, exit_on_error
from relapse.models import NO_GPU
from relapse.planning import plan, remote


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="config.yaml, or a file for --configfile")
    parser.add_argument("--elsewhere", action="store_true", help="the jobs run on a cluster: refuse nothing here")
    args = parser.parse_args()
    study = config.load(args.study)
    made = len(study["methods"]) + sum(name in study["models"] for name in ("target", "retrain"))
    models = len(study["corpora"]) * len(study["seeds"]) * made
    print(
        f"study {study['study']}: {models} models x {len(study['quantizers'])} quantizers, "
        f"{len(study['metrics'])} metrics"
    )
    found = remote.ask(study)
    # On the CPU of this machine nothing can be learned of the time that a GPU takes.
    elsewhere = study["gpu"] and not torch.cuda.is_available()
    jobs = list(plan.jobs(study, None if elsewhere else plan.speed(), found))
    print(plan.table(jobs))
    for problem in found.problems:
        print(f"note: {problem}")
    problems = [] if args.elsewhere else plan.too_large(jobs, shutil.disk_usage(".").free)
    if study["gpu"] and not args.elsewhere and not torch.cuda.is_available():
        problems.append(NO_GPU)
    if problems:
        raise RelapseError("the study does not fit this machine:\n  " + "\n  ".join(problems))


if __name__ == "__main__":
    exit_on_error(main)
