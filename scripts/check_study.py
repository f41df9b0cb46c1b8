"""Check a study file before Snakemake reads it, and print what it will take: memory, disk and time of each kind of job.

A study that cannot fit this machine is refused, with the settings that would. With --elsewhere its jobs run on other
machines, each of which looks at its memory for itself; the disk is this one's.
"""

import argparse
import math
import shutil

import torch

from relapse.planning import fit, plan, remote
from relapse.planning.speed import speed
from relapse.runtime.device import NO_GPU
from relapse.runtime.errors import RelapseError, exit_on_error
from relapse.study import config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="config.yaml, or a file for --configfile")
    parser.add_argument(
        "--elsewhere", action="store_true", help="the jobs run on a cluster, whose memory is not this one's"
    )
    args = parser.parse_args()
    study = config.load(args.study)
    made = len(study.methods) + sum(name != "base" for name in study.models.entries())
    models = len(study.corpora) * len(study.seeds) * made
    print(f"study {study.study}: {models} models x {len(study.quantizers)} quantizers, {len(study.metrics)} metrics")
    found = remote.ask(study)
    gpu = torch.cuda.is_available()
    # Of a GPU that is elsewhere, neither speed nor size is known.
    known = gpu or not study.gpu
    there = fit.capacity(gpu) if known and not args.elsewhere else math.inf
    jobs = list(plan.jobs(study, speed() if known else None, there, found))
    print(plan.table(jobs))
    for problem in found.problems:
        print(f"note: {problem}")
    problems = plan.too_large(jobs, there, shutil.disk_usage(".").free)
    if not known and not args.elsewhere:
        problems.append(NO_GPU)
    if problems:
        raise RelapseError("the study does not fit this machine:\n  " + "\n  ".join(problems))


if __name__ == "__main__":
    exit_on_error(main)
