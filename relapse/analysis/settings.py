"""models.csv: what every model of a study was made with, defaults filled in and grids expanded."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_csv(models: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """One line a model, a column for every key that any has; lists and mappings as JSON, nothing for a missing key.

    models: name -> settings, in the order of the lines.
    """
    keys = sorted({key for settings in models.values() for key in settings})
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["model", *keys])
        for name, settings in models.items():
            writer.writerow([name, *(_cell(settings.get(key)) for key in keys)])


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping | list):
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return "" if value is None else value
