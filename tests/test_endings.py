"""models.csv: what was set, how every run ended, and the sentence about a run that missed its stop rule."""

import csv
import json

import pytest

from relapse.analysis.models_table import endings, unmet, write_csv
from relapse.runtime.errors import RelapseError

MODELS = {
    "target": {"source": "train", "lr": 3e-3},
    "npo": {"lr": 6e-5, "steps": 900, "stop_at": {"knowmem_forget": 0.25, "knowmem_retain": 0.8}},
    "ga": {"lr": 6e-5, "steps": 9},
}


@pytest.fixture
def study(tmp_path):
    """Two seeds of two methods: npo's second run misses its floor; ga has no rule."""
    shares = {0: {"knowmem_forget": 0.24, "knowmem_retain": 0.91}, 1: {"knowmem_forget": 0.2, "knowmem_retain": 0.714}}
    for method in ("npo", "ga"):
        for seed, its in shares.items():
            missed = method == "npo" and seed == 1
            ended = {
                "steps": 600 + seed,
                "stopped_by": "stop_at" if method == "npo" and not missed else "steps",
                "shares": its if method == "npo" else {},
                "unmet": ["knowmem_retain"] if missed else [],
            }
            folder = tmp_path / "models" / "bios" / method / f"seed{seed}"
            folder.mkdir(parents=True)
            (folder / "training.json").write_text(json.dumps(ended))
    return tmp_path


def test_every_run_has_its_line_and_what_ended_it(study):
    table = study / "models.csv"
    write_csv(MODELS, list(endings(study / "models", ["bios"], ["npo", "ga"], [0, 1])), table)
    rows = list(csv.DictReader(table.open(newline="")))
    assert [(row["model"], row["corpus"], row["seed"]) for row in rows] == [
        ("target", "", ""),
        ("npo", "bios", "0"),
        ("npo", "bios", "1"),
        ("ga", "bios", "0"),
        ("ga", "bios", "1"),
    ]
    assert [(row["steps_taken"], row["stopped_by"], row["unmet"]) for row in rows[1:4]] == [
        ("600", "stop_at", ""),
        ("601", "steps", "knowmem_retain"),
        ("600", "steps", ""),
    ]
    assert (rows[2]["knowmem_retain_share"], rows[3]["knowmem_retain_share"], rows[1]["lr"]) == ("0.7140", "", "6e-05")


def test_a_method_that_missed_its_rule_is_named_with_what_it_missed(study):
    table = study / "models.csv"
    write_csv(MODELS, list(endings(study / "models", ["bios"], ["npo", "ga"], [0, 1])), table)
    assert unmet(table) == {
        "npo": "reached its limit of steps without meeting its stop rule "
        "(bios, seed 1: KnowMem retain 71 % of the target's, at least 80 % asked)"
    }


def test_a_missing_run_is_named(study):
    with pytest.raises(RelapseError, match=r"npo/seed2/training.json is missing: unlearn npo on bios with seed 2"):
        list(endings(study / "models", ["bios"], ["npo"], [2]))
