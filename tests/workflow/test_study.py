"""The miniature study end to end: what it leaves behind, and that it survives being killed."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time
from importlib.metadata import version

import pytest
from copies import new_workflow

from relapse.runtime.registry import ROOT

COLUMNS = ["corpus", "model", "seed", "quantizer", "metric", "value", "ci_low", "ci_high", "n"]


def test_every_score_has_its_interval_and_its_records(finished):
    results = finished.directory / "results/mini"
    with (results / "metrics.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS
        rows = list(reader)
    # models x quantizers x metrics; gptq-int4 is for target, retrain and npo_klr
    assert len(rows) == (5 * 2 + 3) * 4
    for row in rows:
        assert float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"])
        records = results / f"metrics/bios/{row['model']}/seed0/{row['quantizer']}.records.jsonl"
        scores = [json.loads(line) for line in records.read_text().splitlines()]
        scores = [record for record in scores if record["metric"] == row["metric"]]
        if row["metric"] == "privleak":
            assert int(row["n"]) == sum(record["split"] != "retain" for record in scores)
        else:
            assert int(row["n"]) == len(scores)
            mean = sum(record["score"] for record in scores) / len(scores)
            assert float(row["value"]) == pytest.approx(mean)
    reference = [row for row in rows if row["metric"] == "privleak" and row["model"] == "retrain"]
    assert [float(row["value"]) for row in reference if row["quantizer"] == "full"] == [0]


def test_tables_figures_and_headline_are_there(finished):
    results = finished.directory / "results/mini"
    for name in ("table1.csv", "table1.md", "table1.tex", "table1.html"):
        text = (results / "tables" / name).read_text()
        assert "npo" in text.lower() and "retrain" in text.lower()
    for name in ("retained_knowledge", "survival", "grid", "sure", "calibration", "time"):
        assert (results / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (results / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert "full precision" in (results / "headline.txt").read_text()


def test_recovery_absorption_and_settings_cover_every_method(finished):
    results = finished.directory / "results/mini"
    methods = {"ga_gdr", "npo_klr", "npo_klr_sure"}
    for name, keys in (("recovery", ("verdict", "equivalent")), ("absorption", ("surviving", "stopped_by"))):
        with (results / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        cells = {(row["model"], row["quantizer"]) for row in rows}
        assert cells == {(method, "rtn-int4") for method in methods} | {("npo_klr", "gptq-int4")}
        assert all(row[key] for row in rows for key in keys)
    with (results / "models.csv").open(newline="") as file:
        settings = {row["model"]: row for row in csv.DictReader(file)}
    assert settings.keys() == methods | {"base", "target", "retrain"}
    assert (settings["npo_klr_sure"]["mask"], settings["npo_klr_sure"]["percentile"]) == ("paper", "90.0")
    assert settings["npo_klr"]["formulation"] == "paper" and not settings["ga_gdr"]["formulation"]
    assert settings["ga_gdr"]["stopped_by"] == "steps" and settings["ga_gdr"]["steps_taken"] == "4"
    assert (settings["npo_klr_sure"]["corpus"], settings["npo_klr_sure"]["seed"]) == ("bios", "0")
    assert settings["npo_klr_sure"]["knowmem_forget_share"]


def test_of_calibrated_checkpoints_the_targets_alone_is_kept_and_scores_say_what_it_saw(finished):
    results = finished.directory / "results/mini"
    kept = [str(path.relative_to(results)) for path in results.glob("quantized/*/*/*/*")]
    assert kept == ["quantized/bios/target/seed0/gptq-int4"]
    scores = json.loads((results / "metrics/bios/npo_klr/seed0/gptq-int4.json").read_text())
    assert scores["calibration"]["calibration"] == "general" and scores["calibration"]["drawn"] == 4
    assert scores["settings"]["quantizer"]["act_order"] == "static"
    assert scores["quantized_with"] == {
        name: version(name) for name in ("torch", "transformers", "llmcompressor", "compressed-tensors")
    }
    plain = json.loads((results / "metrics/bios/npo_klr/seed0/rtn-int4.json").read_text())
    assert "calibration" not in plain and "quantized_with" not in plain


def test_a_run_says_what_ended_it_and_what_moved(finished):
    training = finished.directory / "results/mini/models/bios/npo_klr_sure/seed0/training.json"
    result = json.loads(training.read_text())
    assert result["stopped_by"] == ("steps" if result["unmet"] else "stop_at")
    assert result["looks"][0]["step"] == 10 and result["shares"].keys() == {"knowmem_forget", "knowmem_retain"}
    assert result["moving"] and all(name.endswith("proj.weight") for name in result["moving"])


def test_models_are_saved_in_the_storage_they_were_trained_in(finished):
    from safetensors import safe_open

    models = finished.directory / "results/mini/models/bios"
    dtypes = {"target": "BF16", "retrain": "BF16", "ga_gdr": "BF16", "npo_klr": "F32", "npo_klr_sure": "BF16"}
    for model, dtype in dtypes.items():
        with safe_open(models / model / "seed0/model.safetensors", "np") as tensors:
            assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {dtype}  # noqa: SIM118
        settings = json.loads((models / model / "seed0/training.json").read_text())
        assert settings["seed"] == 0 and settings["versions"]["torch"]


@pytest.fixture(scope="module")
def report(finished):
    file = finished.directory / "report.html"
    done = finished.snakemake("--cores", "1", "--report", str(file))
    assert done.returncode == 0, done.stderr
    return file


def test_the_report_is_one_file_that_fetches_nothing(report):
    text = report.read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']https?://[^\"']+", text)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium: the report was not looked at in a browser")
def test_the_report_opens_in_a_browser_without_a_network(report, tmp_path):
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--proxy-server=127.0.0.1:9"]
    done = subprocess.run(
        [
            "chromium",
            *options,
            f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=8000",
            "--dump-dom",
            f"file://{report}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    # What the page's own script has drawn: the study's introduction, and a menu entry for every category.
    for words in ("mini", "Headline", "Retained knowledge", "Table 1", "Table 3", "Recovery", "Where the time goes"):
        assert words in done.stdout


def test_killed_unlocked_and_resumed_on_one_core_gives_the_same_bytes(finished, tmp_path):
    """SIGKILL in the middle of training; then --cores 1 ends with the metrics.csv of an undisturbed --cores 2 run."""
    workflow = new_workflow(tmp_path)
    run = subprocess.Popen(
        workflow.command("--cores", "2"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    log = workflow.directory / "results/mini/logs/train/bios-target-0.log"
    deadline = time.monotonic() + 180
    while not (log.is_file() and "step" in log.read_text()):
        assert run.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not (workflow.directory / "results/mini/models/bios/target/seed0/model.safetensors").exists()

    refused = workflow.snakemake("--cores", "1")
    assert refused.returncode != 0
    assert "make unlock" in refused.stderr + refused.stdout
    assert "\nunlock:" in (ROOT / "Makefile").read_text()

    assert workflow.snakemake("--unlock").returncode == 0
    resumed = workflow.snakemake("--cores", "1")
    assert resumed.returncode == 0, resumed.stderr
    assert workflow.metrics() == finished.metrics()
    for model in ("target/seed0", "npo_klr/seed0"):
        weights = f"results/mini/models/bios/{model}/model.safetensors"
        assert (workflow.directory / weights).read_bytes() == (finished.directory / weights).read_bytes()
