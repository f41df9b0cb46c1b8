"""What the DAG asks of a study, without Snakemake."""

import json
import shlex
from types import SimpleNamespace

import pytest
from small_study import edited

from relapse.study import config
from relapse.study.graph import Graph, label_of, name_at, one_of
from relapse.study.products import Products
from relapse.study.resources import growing, weights
from relapse.study.scoring import Attacked, Quantized

GPTQ = {"backend": "gptq", "bits": 4, "group_size": 64, "sample_length": 64, "samples": 2}


def job(model, quantizer=None, attack=None):
    """A job's wildcards."""
    return SimpleNamespace(corpus="bios", model=model, seed="0", quantizer=quantizer, attack=attack)


def graph(*edits) -> Graph:
    written = edited(*edits)
    return Graph(config.resolve(written), config.entry_names(written))


def test_models_quantizers_and_what_meets():
    found = graph(
        ("quantizers/gptq", GPTQ | {"methods": []}), ("methods/ga", {"lr": 1e-5, "steps": 2, "max_length": 64})
    )
    assert found.models == ["retrain", "target", "ga", "npo_klr"]
    assert (found.calibrated, found.rounding) == (["gptq"], ["int4", "nf4"])
    assert found.applied_to("gptq") == ["retrain", "target"] and found.applied_to("nf4") == found.models
    assert len(found.evaluations) == 4 * 3 + 2
    assert "bios/ga/seed0/int4" in found.evaluations and "bios/ga/seed0/gptq" not in found.evaluations
    # Two methods on the grids of int4 and nf4; of gptq's checkpoints, none.
    assert found.absorptions == found.on_grids and len(found.on_grids) == 2 * 2


def test_an_entry_of_a_quantizer_may_name_a_grid():
    grid = {"method": "npo", "steps": 2, "max_length": 64, "grid": {"lr": [1e-5, 2e-5]}}
    found = graph(("methods/rates", grid), ("quantizers/int4/methods", ["rates"]))
    assert found.applied_to("int4") == ["retrain", "target", "rates-lr1e-05", "rates-lr2e-05"]


def test_each_quantizer_has_a_job_of_its_own():
    found = graph()
    assert found.evaluation_rules == {"evaluate": ["{quantizer}"]}
    assert found.scored_alone == ["full", "int4", "nf4"]
    assert Quantized(found, "evaluate").scores("json") == [
        "results/default/metrics/{corpus}/{model}/seed{seed}/{quantizer,full|int4|nf4}.json"
    ]
    assert len(found.timed) == 3 * 3 + 1 + 2  # evaluations, the unlearning run, target and retrain


def test_quantizers_share_a_job_full_precision_first():
    """Two of the three that every model has; a calibrated one never shares."""
    found = graph(("evaluation", {"quantizers_per_job": 2}), ("quantizers/gptq", GPTQ))
    assert found.evaluation_rules == {"evaluate": ["{quantizer}"], "evaluate_full-to-int4": ["full", "int4"]}
    assert found.scored_alone == ["gptq", "nf4"]
    assert label_of("evaluate_full-to-int4", ["full", "int4"]) == "full-to-int4"
    assert len(found.timed) == 3 * 3 + 1 + 2
    assert "evaluate/bios/target/seed0/full-to-int4" in found.timed


def test_privleak_compares_with_retrain_of_the_same_seed():
    found, inputs = Quantized(graph(), "evaluate"), SimpleNamespace(reference="R")
    itself, others = job("retrain", "full"), [job("retrain", "int4"), job("npo_klr", "full")]
    assert found.reference(itself) == [] and found.reference_option(itself, inputs) == "--reference self"
    for other in others:
        assert found.reference(other) == ["results/default/metrics/bios/retrain/seed0/full.records.jsonl"]
        assert found.reference_option(other, inputs) == "--reference R"
    number = Quantized(graph(("metrics/privleak", {"reference": 0.5})), "evaluate")
    assert number.reference(others[1]) == [] and number.reference_option(others[1], inputs) == ""


def test_a_job_of_several_quantizers_scores_the_reference_where_full_is_among_them():
    found = graph(("evaluation", {"quantizers_per_job": 2}))
    both = Quantized(found, "evaluate_full-to-int4")
    assert both.names(job("retrain")) == ["full", "int4"] and both.reference(job("retrain")) == []
    assert [file.rpartition("/")[2] for file in both.scores("json")] == ["full.json", "int4.json"]
    assert [json.loads(shlex.split(entry)[0])["backend"] for entry in both.quantizers(job("retrain"))] == [
        "full",
        "rtn",
    ]


def test_a_job_scores_the_checkpoint_of_a_calibrated_quantizer():
    found = Quantized(graph(("quantizers/gptq", GPTQ)), "evaluate")
    assert found.model(job("npo_klr", "int4")) == "results/default/models/{corpus}/{model}/seed{seed}"
    assert found.model(job("npo_klr", "gptq")) == "results/default/quantized/{corpus}/{model}/seed{seed}/gptq"
    assert "scripts/quantize.py" in found.sources(job("npo_klr", "gptq"))
    assert "scripts/quantize.py" not in found.sources(job("npo_klr", "int4"))
    assert found.python(job("npo_klr", "gptq")) == "python" and found.environment(job("npo_klr", "gptq")) == []


def test_the_target_is_given_to_what_compares_with_it():
    part = {"backend": "counterfactual", "quantizer": {"backend": "rtn", "bits": 4, "group_size": 64}, "part": "noise"}
    turn = {"attack": "orthogonal", "quantizer": "int4"}
    found = graph(("quantizers/part", part), ("attacks", {"turn": turn}))
    target = ["results/default/models/{corpus}/target/seed{seed}"]
    scored, attacked = Quantized(found, "evaluate"), Attacked(found)
    assert scored.target(job("npo_klr", "part")) == target and scored.target(job("npo_klr", "int4")) == []
    assert scored.target_option(job("npo_klr", "part"), SimpleNamespace(target="T")) == "--target T"
    assert attacked.target(job("npo_klr", attack="turn")) == target
    words = shlex.split(attacked.options(job("npo_klr", attack="turn"), SimpleNamespace(target=["T"])))
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert given.pop("--target") == "T"
    assert {option: json.loads(entry).get("backend") for option, entry in given.items()} == {
        "--attack": None,
        "--quantizer": "full",
        "--attacked-with": "rtn",
    }


def test_every_retry_asks_for_more(tmp_path):
    assert [growing(120)(None, attempt) for attempt in (1, 2)] == [120, 240]
    (tmp_path / "model.safetensors").write_bytes(bytes(3_000_000))
    (tmp_path / "other.json").write_bytes(bytes(3_000_000))
    assert [weights(12)(None, [str(tmp_path)], attempt) for attempt in (1, 2)] == [4036, 8072]
    with pytest.raises(FileNotFoundError):
        weights(12)(None, [str(tmp_path / "missing")], 1)


@pytest.mark.parametrize(("kept", "deleted"), [(True, []), (False, ["gptq"])])
def test_checkpoints_are_kept_where_the_entry_asks(kept, deleted):
    found = graph(("quantizers/gptq", GPTQ | {"keep": kept}))
    assert found.deleted == deleted and found.not_target == ["retrain", "npo_klr"]
    assert found.kept_checkpoints == [
        f"results/default/quantized/bios/{model}/seed0/gptq" for model in found.models if kept
    ]


def test_settings_of_a_job_leave_out_what_does_not_change_its_result():
    twin = {"method": "npo_klr", "lr": 1e-5, "steps": 2, "max_length": 64, "alpha": 1.0, "storage": "float32"}
    found = graph(("methods/twin", twin), ("methods/npo_klr/twin", "twin"), ("quantizers/int4/methods", ["npo_klr"]))
    assert "twin" not in found.made_how["npo_klr"].plain() and found.made_how["npo_klr"].lr == 1e-5
    assert "methods" not in found.rounded_how["int4"]
    assert Products(found).averaged("npo_klr") and not Products(found).averaged("twin")


def test_tables_and_figures_that_the_study_has_something_for():
    assert Products(graph()).tables == [1]
    assert list(Products(graph()).figures) == ["retained_knowledge", "survival", "grid"]
    sure = {"lr": 1e-5, "steps": 2, "max_length": 64, "alpha": 1.0}
    full = Products(graph(("quantizers/gptq", GPTQ), ("methods/npo_klr_sure", sure)))
    assert full.tables == [1, 2, 3]
    assert list(full.figures) == ["retained_knowledge", "survival", "grid", "sure", "calibration"]
    assert full.figures["survival"] == ["results/default/recovery.csv", "results/default/absorption.csv"]
    assert full.category("grid") == "5 Why"
    pruned = Products(graph(("quantizers/wanda", {"backend": "wanda", "share": 0.3, "sample_length": 64})))
    assert pruned.tables == [1] and "calibration" not in pruned.figures


def test_what_no_wildcard_may_match():
    import re

    assert re.fullmatch(one_of([]), "") is None and re.fullmatch(one_of(["a.b"]), "axb") is None
    assert (name_at("base"), name_at("target/seed3")) == ("base", "target")
