"""A finished study that lists attacks runs these alone, and shows them beside the quantizers."""

import csv
import dataclasses
import json
import shutil

import pytest
import yaml

ATTACKS = {
    "noise-int4": {"attack": "noise", "quantizer": "rtn-int4", "methods": ["ga_gdr"]},
    "orthogonal-int4": {"attack": "orthogonal", "quantizer": "rtn-int4", "methods": ["ga_gdr"]},
    "relearn": {"attack": "relearn", "texts": 4, "steps": 2, "max_length": 64, "lr": 1e-3, "methods": ["ga_gdr"]},
    "sample": {"attack": "sample", "k": 2, "samples": 3, "under": "rtn-int4", "methods": ["ga_gdr"]},
}
MODELS = ("target", "retrain", "ga_gdr")
SUMMARY = {"collect", "retained", "recovery", "timings", "figure hidden", "figure retained_knowledge"}
SUMMARY |= {f"figure {name}" for name in ("survival", "grid", "sure", "calibration")}
SUMMARY |= {f"table table{number}" for number in (1, 2, 3)}


@pytest.fixture(scope="module")
def attacked(finished, tmp_path_factory):
    """The finished study with attacks, in a copy of its directory, as it was before they ran; and what was planned."""
    folder = tmp_path_factory.mktemp("attacked")
    study = yaml.safe_load(finished.study.read_text()) | {"attacks": ATTACKS}
    (folder / "mini.yaml").write_text(yaml.safe_dump(study))
    shutil.copytree(finished.directory, folder / "work")
    workflow = dataclasses.replace(finished, directory=folder / "work", study=folder / "mini.yaml")
    planned = workflow.planned()
    done = workflow.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    return workflow, planned


def test_nothing_but_the_attacks_and_what_shows_them_runs(attacked):
    _, planned = attacked
    jobs = {f"attack bios-{model}-0-{name}" for model in MODELS for name in ATTACKS}
    assert planned == jobs | SUMMARY


def test_recovery_has_a_row_for_every_attack_and_the_figure_is_there(attacked):
    results = attacked[0].directory / "results/mini"
    with (results / "recovery.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["quantizer"] for row in rows if row["model"] == "ga_gdr"} == {"rtn-int4", *ATTACKS}
    assert all(row["verdict"] for row in rows)
    assert (results / "figures/hidden.png").read_bytes().startswith(b"\x89PNG")
    assert all(name in (results / "tables/recovery.md").read_text() for name in ATTACKS)
    assert "noise-int4" not in (results / "tables/table1.md").read_text()  # the paper's tables are about formats


def test_scores_say_which_attack_they_are_of(attacked):
    metrics = attacked[0].directory / "results/mini/metrics/bios/ga_gdr/seed0"
    sampled = json.loads((metrics / "sample.json").read_text())
    expected = {key: value for key, value in ATTACKS["sample"].items() if key != "methods"}
    assert sampled["settings"]["attack"] == expected | {"temperature": 1.0, "top_k": 0}
    assert sampled["settings"]["quantizer"]["backend"] == "rtn"
    assert set(sampled["scores"]) == {"verbmem_forget", "knowmem_forget"}
    relearned = json.loads((metrics / "relearn.json").read_text())
    assert set(relearned["scores"]) == {"verbmem_forget", "knowmem_forget", "knowmem_retain", "privleak"}


def test_the_target_under_orthogonal_errors_is_the_quantized_target(attacked):
    target = attacked[0].directory / "results/mini/metrics/bios/target/seed0"
    scores = [json.loads((target / f"{name}.json").read_text())["scores"] for name in ("orthogonal-int4", "rtn-int4")]
    assert scores[0] == scores[1]
