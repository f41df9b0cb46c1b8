"""Edits of the miniature study."""

from pathlib import Path

import pytest
import yaml


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
