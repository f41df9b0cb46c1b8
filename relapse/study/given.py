"""Entries that a user gives a program on its command line, checked as a study's are.

`check_given` imports the check by name, so that relapse/study/config.py does not count among the sources of a study's
own jobs, whose entries are already checked.
"""

import argparse
import importlib
import json
from typing import Any


def as_json(text: str) -> Any:
    """An argparse type: the value that `text` is as JSON, or an error that shows where it is none."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None


def check_given(section: str, name: str, entry: Any) -> None:
    """`relapse.study.config.check_entry`, imported by name, which a digest of sources does not follow."""
    importlib.import_module("relapse.study.config").check_entry(section, name, entry)
