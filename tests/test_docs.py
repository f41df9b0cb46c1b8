"""Pages that a program writes are up to date, every page of the site is in its menu, every column is described."""

import re
from dataclasses import fields

import pytest
import yaml

from relapse.analysis import models_table, timings
from relapse.analysis.costs import Cost
from relapse.analysis.counterfactual import Part
from relapse.analysis.recovery import Recovery
from relapse.analysis.retained import Retained
from relapse.runtime.registry import ROOT
from scripts import absorption_table, collect, config_reference

COLUMNS = {
    "metrics.csv": collect.COLUMNS,
    "retained.csv": [field.name for field in fields(Retained)],
    "recovery.csv": [field.name for field in fields(Recovery)],
    "absorption.csv": absorption_table.COLUMNS,
    "counterfactual.csv": [field.name for field in fields(Part)],
    "models.csv": models_table.ENDED,
    "costs.csv": [field.name for field in fields(Cost)],
    "timings.csv": [*timings.PARTS, timings.REST],
}


def test_the_page_of_configuration_keys_is_up_to_date():
    written = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert written == config_reference.page(), "run: python -m scripts.config_reference"


def test_every_page_is_in_the_menu():
    def pages(menu):
        for entry in menu:
            for value in entry.values():
                yield from pages(value) if isinstance(value, list) else [value]

    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(pages(menu)) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("file", COLUMNS)
def test_every_column_of_a_results_file_is_described(file):
    rows = re.findall(
        r"^\| (?:`([\w.]+)`)? ?\| (.*?) \| .+\|$",
        (ROOT / "results/README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    described, of = {"corpus", "model", "seed", "quantizer"}, None
    for name, columns in rows:
        of = name or of
        described |= set(re.findall(r"`(\w+)`", columns)) if of == file else set()
    assert set(COLUMNS[file]) <= described
