"""The cluster, for as long as a session of tests lasts."""

import pytest
from cluster import Cluster, missing


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A running SLURM cluster of one node. Skips where none can be started."""
    if obstacles := missing():
        pytest.skip(f"no SLURM cluster can be started here ({'; '.join(obstacles)}): nothing was tested through SLURM")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
