"""What is looked up about an earlier run's SLURM jobs; tests/slurm shows it on a cluster."""

import pytest

from relapse import cluster
from relapse.errors import RelapseError


def test_without_squeue_nothing_is_taken_for_granted(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RelapseError, match="squeue does not say whether an earlier run's jobs are still there"):
        cluster.check_none_left(tmp_path)
