"""A study of unlearned models that were made elsewhere: whole weights in shards, and an adapter of peft."""

import csv
import json
import shutil

import pytest
import torch
import yaml
from copies import HERE, new_workflow

from relapse.models.loading import load_model
from relapse.models.weights import read_tensors

MODELS = "results/mini/models/bios"


@pytest.fixture(scope="module")
def given(finished, tmp_path_factory):
    """The miniature study's own models as somebody else's: target, retrain, and what was unlearned from it twice."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("given")
    models = finished.directory / MODELS
    for name in ("target", "retrain"):
        shutil.copytree(models / name / "seed0", folder / name, symlinks=False)
    load_model(models / "ga_gdr/seed0").to(torch.bfloat16).save_pretrained(folder / "shards", max_shard_size="100KB")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        get_peft_model(load_model(folder / "target"), config).save_pretrained(folder / "adapter")
    return folder


@pytest.fixture(scope="module")
def run(given, tmp_path_factory):
    """The study, run for real beside a method of its own."""
    workflow = new_workflow(tmp_path_factory.mktemp("elsewhere"))
    mini = yaml.safe_load((HERE / "mini.yaml").read_text())
    mini["models"] = {name: {"source": "local", "path": str(given / name)} for name in ("target", "retrain")}
    mini["methods"] = {
        "ga_gdr": mini["methods"]["ga_gdr"],
        "shards": {"source": "local", "path": str(given / "shards")},
        "merged": {"source": "local", "path": str(given / "adapter")},
    }
    mini["quantizers"]["gptq-int4"]["methods"] = ["merged"]
    workflow.study.write_text(yaml.safe_dump(mini))
    done = workflow.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    return workflow.directory / "results/mini"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_they_are_scored_and_compared_like_the_studys_own(run):
    scored = {(row["model"], row["quantizer"], row["metric"]) for row in read(run / "metrics.csv")}
    for model in ("shards", "merged"):
        assert {metric for name, quantizer, metric in scored if (name, quantizer) == (model, "rtn-int4")} == {
            *("verbmem_forget", "knowmem_forget", "knowmem_retain", "privleak")
        }
    assert {row["model"] for row in read(run / "recovery.csv")} == {"ga_gdr", "shards", "merged"}
    absorbed = {(row["model"], row["quantizer"]): row for row in read(run / "absorption.csv")}
    assert ("merged", "gptq-int4") in absorbed
    for model in ("shards", "merged"):
        row = absorbed[model, "rtn-int4"]
        assert row["surviving"] and not row["predicted"] and not row["stopped_by"]
    settings = {row["model"]: row for row in read(run / "models.csv")}
    assert settings["merged"]["path"].endswith("/adapter") and not settings["merged"]["lr"]
    for name in ("table1.md", "recovery.md"):
        assert "shards" in (run / "tables" / name).read_text()
    assert "merged: made elsewhere" in (run / "tables/table1.md").read_text()
    for name in ("retained_knowledge", "survival", "grid", "calibration"):
        assert (run / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_weights_have_the_same_scores(run, finished):
    """The shards are ga_gdr's of the finished study, on another study's copy of target and corpus."""
    own = {
        (row["quantizer"], row["metric"]): row["value"]
        for row in read(finished.directory / "results/mini/metrics.csv")
        if row["model"] == "ga_gdr"
    }
    found = {
        (row["quantizer"], row["metric"]): row["value"] for row in read(run / "metrics.csv") if row["model"] == "shards"
    }
    assert found == own


def test_an_adapter_is_merged_in_float32_and_rounded_once(run, given):
    """W + (alpha / rank) B A, by hand."""
    target, made, low = (
        read_tensors(given / "target"),
        read_tensors(run / "models/bios/merged/seed0"),
        read_tensors(given / "adapter"),
    )
    for name in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"):
        a, b = (low[f"base_model.model.{name}.lora_{part}.weight"].float() for part in "AB")
        expected = (target[f"{name}.weight"].float() + 4 / 2 * (b @ a)).bfloat16()
        assert torch.equal(made[f"{name}.weight"], expected)
    assert torch.equal(made["lm_head.weight"], target["lm_head.weight"])
    facts = json.loads((run / "models/bios/merged/seed0/training.json").read_text())
    assert facts["settings"]["source"] == "local" and facts["steps"] is None
