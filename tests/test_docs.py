"""Pages that a program writes are up to date, and every page of the site is in its menu."""

import yaml

from relapse.runtime.registry import ROOT
from scripts import config_reference


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
