"""What is looked up about an earlier run's SLURM jobs; tests/slurm shows it on a slurm_jobs."""

import pytest

from relapse.runtime.errors import RelapseError
from relapse.study import slurm_jobs


def test_without_squeue_nothing_is_taken_for_granted(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RelapseError, match="squeue does not report whether an earlier run's jobs are still there"):
        slurm_jobs.check_none_left(tmp_path, "results/mini")


def test_jobs_beside_another_study_that_runs_are_told_and_no_error(tmp_path, monkeypatch):
    """A squeue that prints a job of this folder, and one of another."""
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text(f"#!/bin/sh\nprintf '1 rule_train {tmp_path}\\n2 rule_train /other\\n'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}:/usr/bin:/bin")
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/mini/metrics.csv\n")
    with pytest.raises(RelapseError, match=r"scancel 1$"):
        slurm_jobs.check_none_left(tmp_path, "results/mini")
    (locks / "1.output.lock").write_text("results/mini-other/metrics.csv\n")
    assert slurm_jobs.check_none_left(tmp_path, "results/mini").endswith("would write the same files: 1")
