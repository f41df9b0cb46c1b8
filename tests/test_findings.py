"""docs/findings.md says what the tables beside it say."""

import csv
import re
from collections import defaultdict
from statistics import fmean

import pytest

from relapse.runtime.registry import ROOT

TEXT = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
TABLES = ROOT / "docs/findings"
CITED = re.findall(
    r"(?:in (mechanism-\w+|quantizers|lora|seeds|gpu) )?`([\w.-]+)` / `([\w.-]+)`: (-?\d+) % \[(-?\d+), (-?\d+)\]",
    re.sub(r"\s+", " ", TEXT),
)


def rows(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(newline="") as file:
        return list(csv.DictReader(file))


def recovered(study: str) -> dict[tuple[str, str], dict[str, str]]:
    """(model, quantizer) -> row of a study's recovery.csv for VerMem and KnowMem together."""
    found = (row for row in rows(f"{study}-recovery.csv") if row["metric"] == "knowledge")
    return {(row["model"], row["quantizer"]): row for row in found}


def test_the_findings_cite_many_cells():
    assert len(CITED) >= 20


@pytest.mark.parametrize("cited", sorted(set(CITED)), ids=lambda cited: "-".join(cited[:3]))
def test_every_cited_cell_is_in_the_table(cited):
    study, model, quantizer, *numbers = cited
    row = recovered(study or "mechanism")[model, quantizer]
    assert [str(round(100 * float(row[key]))) for key in ("recovered", "ci_low", "ci_high")] == numbers


def test_surviving_shares_separate_the_verdicts_as_stated():
    surviving = defaultdict(list)
    for row in rows("mechanism-absorption.csv"):
        surviving[row["model"], row["quantizer"]].append(float(row["surviving"]))
    by_verdict = defaultdict(list)
    for row in rows("mechanism-recovery.csv"):
        if row["metric"] == "knowledge":
            by_verdict[row["verdict"]].append(fmean(surviving[row["model"], row["quantizer"]]))
    assert f"In all {len(by_verdict['recovered'])} cells that recover" in TEXT
    assert f"at most {max(by_verdict['recovered']):.2f} of the update" in TEXT
    assert f"in all {len(by_verdict['not detected'])} cells in which no recovery was detected" in TEXT
    assert f"at least {min(by_verdict['not detected']):.2f} does" in TEXT
    undecided = by_verdict["cannot tell"]
    assert f"the {len(undecided)} undecided ones lie between {min(undecided):.2f} and {max(undecided):.2f}" in TEXT


def test_eight_bit_is_equivalent_as_stated():
    same = [
        r["equivalent"]
        for r in rows("mechanism-recovery.csv")
        if r["metric"] == "knowledge" and "int8" in r["quantizer"]
    ]
    assert f"within 5 points for {same.count('yes')} of {len(same)} models" in TEXT
