"""The miniature study, run for real once."""

from pathlib import Path

import pytest
import yaml
from copies import Workflow, new_workflow


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """The miniature study, finished on two cores."""
    workflow = new_workflow(tmp_path_factory.mktemp("mini"))
    done = workflow.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    return workflow


@pytest.fixture
def edited(finished, tmp_path):
    """Write an edited study: `edited(lambda study: ...)` gives the file."""

    def write(edit, **dump) -> Path:
        study = yaml.safe_load(finished.study.read_text())
        edit(study)
        path = tmp_path / "edited.yaml"
        path.write_text(yaml.safe_dump(study, **({"sort_keys": False} | dump)))
        return path

    return write
