"""relapse/audit/track_record.csv: how often the audit's rule was right. Run when docs/findings/ changes."""

import csv
from pathlib import Path

from relapse.audit.verdict import RECORD, count
from relapse.runtime.registry import ROOT


def write(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["study", "verdict", "outcome", "cells"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(count(ROOT / "docs" / "findings"))


if __name__ == "__main__":
    write(RECORD)
