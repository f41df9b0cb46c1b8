"""docs/findings.md and docs/earlier-findings.md say what the tables beside them say."""

import csv
import re
from collections import defaultdict
from statistics import fmean

import pytest

from relapse.runtime.registry import ROOT

TABLES = ROOT / "docs/findings"
PAGES = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("findings.md", "earlier-findings.md")}
TEXT = re.sub(r"\s+", " ", " ".join(PAGES.values()))
CELL = r"(-?\d+) % \[(-?\d+), (-?\d+)\]"


def in_tables(text: str):
    """(study, model, quantizer, three numbers) of every cell of the tables below a mark `<!-- cells: STUDY -->`."""
    for study, table in re.findall(r"<!-- cells: ([\w-]+) -->\n+((?:\|.*\n)+)", text):
        heading, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
        for model, *cells in lines:
            for quantizer, cell in zip(heading[1:], cells, strict=True):
                if cell:
                    yield study, model.strip("`"), quantizer.strip("`"), *re.fullmatch(CELL, cell).groups()


def in_prose(text: str):
    """The same of every cell that a sentence cites; without a study's name it is of the mechanism study."""
    for study, *cell in re.findall(rf"(?:in (mechanism-\w+) )?`([\w.-]+)` / `([\w.-]+)`: {CELL}", text):
        yield study or "mechanism", *cell


CITED = {cell for text in PAGES.values() for cell in in_tables(text)} | set(in_prose(TEXT))


def rows(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(newline="") as file:
        return list(csv.DictReader(file))


def recovered(study: str) -> dict[tuple[str, str], dict[str, str]]:
    """(model, quantizer) -> row of a study's recovery.csv for VerMem and KnowMem together."""
    found = (row for row in rows(f"{study}-recovery.csv") if row["metric"] == "knowledge")
    return {(row["model"], row["quantizer"]): row for row in found}


def test_the_findings_cite_many_cells_of_every_study():
    studies = [study for study, *_ in CITED]
    least = {"seeds": 45, "gpu": 15, "mechanism": 50, "mechanism-larger": 1, "mechanism-smaller": 2}
    assert all(studies.count(study) >= count for study, count in (least | {"quantizers": 20, "lora": 32}).items())


def test_no_table_of_recovered_shares_goes_unread():
    marked = sum(
        len(re.findall(CELL, line)) for text in PAGES.values() for line in text.splitlines() if line[:3] == "| `"
    )
    assert marked == sum(len(list(in_tables(text))) for text in PAGES.values())


@pytest.mark.parametrize("cited", sorted(CITED), ids=lambda cited: "-".join(cited[:3]))
def test_every_cited_cell_is_in_the_table(cited):
    study, model, quantizer, *numbers = cited
    row = recovered(study)[model, quantizer]
    assert [str(round(100 * float(row[key]))) for key in ("recovered", "ci_low", "ci_high")] == numbers


@pytest.mark.parametrize("page", ["README.md", "docs/findings.md"])
def test_retained_knowledge_is_the_tables(page):
    """The average and its interval at every precision in the page's table, and retrain's."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = {
        row["quantizer"]: f"{float(row['value']):.1f} [{float(row['ci_low']):.1f}, {float(row['ci_high']):.1f}]"
        for row in rows("seeds-retained.csv")
        if row["model"] == "average"
    }
    stated = re.findall(r"^\| \**[^|]*?(full precision|`[\w-]+`)[^|]*\| \**([\d.]+ \[[^\]]*\])", text, re.MULTILINE)
    assert len(stated) >= 5
    (retrain,) = (row for row in rows("seeds-retained.csv") if row["model"] == "retrain" and row["quantizer"] == "full")
    assert "{:.1f} [{:.1f}, {:.1f}]".format(*(float(retrain[key]) for key in ("value", "ci_low", "ci_high"))) in text
    for quantizer, cell in stated:
        assert found[quantizer.strip("`").replace("full precision", "full")] == cell, quantizer


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
    assert f"In all {len(by_verdict['not detected'])} cells in which no recovery was detected" in TEXT
    assert f"at least {min(by_verdict['not detected']):.2f} does" in TEXT
    undecided = by_verdict["cannot tell"]
    assert f"The {len(undecided)} undecided ones lie between {min(undecided):.2f} and {max(undecided):.2f}" in TEXT


def test_eight_bit_is_equivalent_as_stated():
    same = [
        r["equivalent"]
        for r in rows("mechanism-recovery.csv")
        if r["metric"] == "knowledge" and "int8" in r["quantizer"]
    ]
    assert f"within 5 points for {same.count('yes')} of {len(same)} models" in TEXT


def test_differences_of_counterfactuals_are_the_tables():
    """Every difference that the first section states, of `npo_klr`, in the order in which it states them."""
    found = {
        (row["quantizer"], row["part"]): row
        for row in rows("counterfactual-parts.csv")
        if row["model"] == "npo_klr" and row["metric"] == "knowledge"
    }
    wanted = [
        ("rtn-int4", "update", "from_quantized"),
        ("bnb-fp4", "update", "from_quantized"),
        ("rtn-int4", "noise", "from_full"),
        ("bnb-fp4", "noise", "from_full"),
        ("bnb-nf4", "quantized", "from_full"),
        ("bnb-nf4", "update", "from_full"),
        ("bnb-nf4", "noise", "from_full"),
    ]
    section = PAGES["findings.md"].split("## What brings the knowledge back")[1].split("\n## ")[0]
    stated = re.findall(r"-?\d+\.\d \[-?\d+\.\d, -?\d+\.\d\]", re.sub(r"\s+", " ", section))
    for cell, (quantizer, part, key) in zip(stated, wanted, strict=True):
        row = found[quantizer, part]
        numbers = (f"{float(row[key + end]):.1f}" for end in ("", "_low", "_high"))
        assert cell == "{} [{}, {}]".format(*numbers), (quantizer, part)


def test_the_losses_of_the_unfinished_study_are_those_of_its_logs():
    found = {(row["model"], row["seed"]): row for row in rows("smollm2-losses.csv") if row["step"] == "220"}
    table = re.findall(r"\| `(\w+)` \| \S+ \| \w+ \| (\S+) / (\S+) \| (\S+) / (\S+) \|", PAGES["findings.md"])
    assert len(table) == 6 and len(found) == 12
    for model, *cited in table:
        logged = [found[model, seed][loss] for loss in ("forget", "retain") for seed in "01"]
        for number, value in zip(cited, logged, strict=True):
            digits = len(number.partition(".")[2])
            assert f"{float(value):.{digits}f}" == number, (model, number, value)


def test_the_numbers_of_the_other_group_are_those_that_are_kept():
    with (ROOT / "relapse/report/independent.csv").open(newline="", encoding="utf-8") as file:
        kept = [
            row for row in csv.DictReader(file) if row["corpus"] == "TOFU" and row["model"] not in ("target", "retrain")
        ]
    table = PAGES["findings.md"].split("## Other groups' numbers")[1].split("\n- ")[0]
    assert sorted(re.findall(r"(?<!\d)\.\d{3}\b", table)) == sorted(row["value"].lstrip("0") for row in kept)
    assert all(row["source"].startswith("danieltennant/unlearning-compression@") for row in kept)


def test_what_the_theory_gives_for_their_recipe_is_in_the_table():
    shares = defaultdict(list)
    for row in rows("predicted-drawn.csv"):
        if row["distribution"] == "normal":
            shares[row["recipe"], row["std"], row["format"]].append(float(row["predicted"]))
    mean = {key: f"{fmean(found):.2f}" for key, found in shares.items()}
    slow, fast = "tofu-1e-5", "tofu-2e-5"
    nf4 = [mean[recipe, "0.02", "bnb-nf4"] for recipe in (slow, fast, "paper")]
    assert f"gives {nf4[0]} of the update surviving NF4 at 1e-5" in TEXT and f"and {nf4[1]} at 2e-5" in TEXT
    assert f"500 steps at a constant 1e-5 it gives {nf4[2]}" in TEXT
    pruned = {
        (recipe, share): mean[recipe, "0.02", f"prune-{share}"] for recipe in (slow, fast) for share in (10, 20, 30)
    }
    assert pruned[slow, 20] == pruned[slow, 30]
    assert f"At 1e-5 it gives {pruned[slow, 20]} under 20 and 30 %" in TEXT
    assert f"at 2e-5 {pruned[fast, 30]} under 30 and {pruned[fast, 10]} under 10 %" in TEXT
    assert f"under 10 % at 1e-5 ({pruned[slow, 10]} survives) and under 20 % at 2e-5 ({pruned[fast, 20]})" in TEXT
    others = [mean[slow, std, "bnb-nf4"] for std in ("0.025", "0.015")]
    assert "for 0.025 the share under NF4 at 1e-5 is {}, for 0.015 it is {}".format(*others) in TEXT
