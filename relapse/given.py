"""Entries that a user gives a program on its command line, checked as a study's are.

Knows how to ask the configuration without counting it among the sources that a study's own jobs execute, whose entries
are checked already.
"""

import importlib
from typing import Any


def check_given(section: str, name: str, entry: Any) -> None:
    """`relapse.config.check_entry`, imported by name, which a digest of sources does not follow."""
    importlib.import_module("relapse.config").check_entry(section, name, entry)
