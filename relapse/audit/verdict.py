"""A verdict on a format, by a stated rule, and how often the rule was right in this project's own studies.

The rule looks at the surviving share of the update alone: ABSORBED at most 0.25, SURVIVES at least 0.75. Its track
record counts cells (a model, a format) of docs/findings/ in which the model had forgotten something: the surviving
share there is the mean over seeds, and whether knowledge came back is `verdict` in recovery.csv.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from relapse.audit.compare import Survival, Update

ABSORBED, SURVIVES = 0.25, 0.75
OUTSIDE = 0.25  # of the squared change; none of the studies' models had more in layers that formats leave alone
VERDICTS = ("absorbed", "survives", "cannot tell")
OUTCOMES = ("recovered", "cannot tell", "not detected")
RECORD = Path(__file__).with_name("track_record.csv")
MEANING = {
    "absorbed": "the format rounds most of the update away: expect the knowledge to come back",
    "survives": "the format keeps the update: expect the model to stay as unlearned as it was",
    "cannot tell": "the rule does not decide: score the model in this format",
}


def of_share(share: float | None) -> str:
    """The rule, for a surviving share."""
    if share is None or ABSORBED < share < SURVIVES:
        return "cannot tell"
    return "absorbed" if share <= ABSORBED else "survives"


def verdict(update: Update, survival: Survival) -> str:
    """The rule, for a format of an audited model.

    Where much of the change lies in layers that the format leaves alone, an absorbed update may still do its work.
    """
    found = of_share(survival.share)
    outside = update.outside_share or 0.0
    return "cannot tell" if found == "absorbed" and outside > OUTSIDE else found


def track_record(path: Path = RECORD) -> dict[str, Counter]:
    """Verdict -> outcome -> cells of all studies."""
    counted: dict[str, Counter] = {name: Counter() for name in VERDICTS}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            counted[row["verdict"]][row["outcome"]] += int(row["cells"])
    return counted


def in_words(counted: dict[str, Counter]) -> list[str]:
    """A sentence for each verdict of the rule."""
    return [
        f"{name}: {sum(cells.values())} cells, of which "
        + ", ".join(f"{cells[outcome]} {outcome}" for outcome in OUTCOMES)
        for name, cells in counted.items()
    ]


def count(findings: Path) -> Iterator[dict[str, str | int]]:
    """The rows of track_record.csv, from the absorption and recovery tables of docs/findings/."""
    for path in sorted(findings.glob("*-absorption.csv")):
        study = path.name.removesuffix("-absorption.csv")
        recovery = findings / f"{study}-recovery.csv"
        if not recovery.is_file():  # nothing was scored
            continue
        shares: dict[tuple[str, ...], list[float]] = {}
        for row in _rows(path):
            if row["surviving"]:
                key = row["corpus"], row["model"], row["quantizer"]
                shares.setdefault(key, []).append(float(row["surviving"]))
        cells: Counter = Counter()
        for row in _rows(recovery):
            found = shares.get((row["corpus"], row["model"], row["quantizer"]))
            if row["metric"] == "knowledge" and found and row["verdict"] in OUTCOMES:
                cells[of_share(sum(found) / len(found)), row["verdict"]] += 1
        for (name, outcome), number in sorted(cells.items()):
            yield {"study": study, "verdict": name, "outcome": outcome, "cells": number}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)
