"""The configuration: what is accepted, what is filled in, and what every kind of wrong input is answered with."""

import copy
import dataclasses
from pathlib import Path

import pytest
import yaml
from pydantic import model_validator
from small_study import REMOVE, edited, problems, study

from relapse.evaluation.settings import Evaluation
from relapse.models.files import describe
from relapse.models.settings import HubModel
from relapse.study import config
from relapse.unlearning.methods import METHODS

SURE = {"method": "npo_klr_sure", "lr": 1e-4, "steps": 2, "max_length": 64, "alpha": 1.0}

LORA = SURE | {"parameters": "lora"}
GPTQ = {"backend": "gptq", "bits": 4, "group_size": 64}

# path, value, key that the one line begins with, words that the rest contains
WRONG = [
    ("methods/npo_klr/parameters", "adapters", "methods.npo_klr.parameters", ["one of full, lora"]),
    ("methods/npo_klr/lora", {"rank": 0}, "methods.npo_klr.lora.rank", ["at least 1"]),
    ("methods/npo_klr/lora", {"target_modules": "all"}, "methods.npo_klr.lora.target_modules", ["linear or a list"]),
    (
        "methods/x",
        LORA | {"lora": {"target_modules": ["c_attn"]}},
        "methods.x.lora",
        ["target_modules: no linear layer is called c_attn", "q_proj, k_proj"],
    ),
    ("methods/x", LORA | {"lora": {"rank": 1000}}, "methods.x.lora.rank", ["is 1000, must be at most", "models.base"]),
    ("methods/x", LORA | {"mask": "row"}, "methods.x.mask", ["one of paper, released, random with parameters: lora"]),
    ("methods/x", LORA | {"modules": "all"}, "methods.x.modules", ["linear with parameters: lora"]),
    ("quantizers/int4/methods", ["npo_krl"], "quantizers.int4.methods[0]", ["'npo_krl'", "Did you mean 'npo_klr'?"]),
    ("quantizers/full/methods", ["npo_klr"], "quantizers.full.methods", ["every model"]),
    ("quantizers/int4/keep", "yes please", "quantizers.int4.keep", ["'yes please'", "true or false"]),
    ("quantizers/g", {"backend": "gptq"}, "quantizers.g.bits", ["missing", "one of 4, 8"]),
    ("quantizers/g", GPTQ | {"group_size": 96}, "quantizers.g", ["96", "input width 128 of layer", "64, 128, or row"]),
    ("quantizers/g", GPTQ | {"calibration": "wikitext"}, "quantizers.g.calibration", ["general, retain, forget, file"]),
    ("quantizers/g", GPTQ | {"calibration": "file"}, "quantizers.g", ["calibration: file needs calibration_path"]),
    ("quantizers/g", GPTQ | {"sample_length": 1024}, "quantizers.g.sample_length", ["1024", "512", "models.base"]),
    ("quantizers/g", GPTQ | {"dampening": 0}, "quantizers.g.dampening", ["greater than 0"]),
    ("quantizers/g", GPTQ | {"act_order": "group"}, "quantizers.g.act_order", ["one of static, weight, none"]),
    # names that are not registered
    ("methods/npo_kl", {"lr": 1e-5, "steps": 2, "alpha": 1.0}, "methods.npo_kl", ["Did you mean 'npo_klr'?", "ga_gdr"]),
    ("methods/npo_klr/method", "npo_kll", "methods.npo_klr.method", ["'npo_kll'", "Did you mean 'npo_klr'?"]),
    ("methods/npo_klr/method", 3, "methods.npo_klr.method", ["is 3", "text"]),
    ("quantizers/int4/backend", "rnt", "quantizers.int4.backend", ["'rnt'", "Did you mean 'rtn'?", "bitsandbytes"]),
    ("metrics/knowmem_retian", {}, "metrics.knowmem_retian", ["Did you mean 'knowmem_retain'?", "privleak"]),
    ("corpora/bios/source", "synthetc", "corpora.bios.source", ["Did you mean 'synthetic'?", "muse"]),
    ("models/target/source", "trian", "models.target.source", ["Did you mean 'train'?", "local, hub"]),
    ("models/base/source", "train", "models.base.source", ["'train'", "one of random, local, hub"]),
    ("models/base", {}, "models.base.source", ["missing", "random, local, hub"]),
    # misspelt and missing keys
    ("sedes", [0], "sedes", ["unknown key", "Did you mean 'seeds'?"]),
    ("methods/npo_klr/bata", 0.1, "methods.npo_klr.bata", ["unknown key", "Did you mean 'beta'?", "kl_direction"]),
    ("quantizers/int4/bit", 4, "quantizers.int4.bit", ["unknown key", "Did you mean 'bits'?"]),
    ("quantizers/full/bits", 4, "quantizers.full.bits", ["unknown key", "Allowed: backend, keep, methods."]),
    ("metrics/privleak/kk", 4, "metrics.privleak.kk", ["unknown key", "Allowed: k, reference."]),
    ("corpora/bios/forgot", 4, "corpora.bios.forgot", ["unknown key", "Did you mean 'forget'?"]),
    ("models/taget", {}, "models.taget", ["unknown key", "Did you mean 'target'?"]),
    ("models/target/epochs", 2, "models.target.epochs", ["unknown key"]),
    ("models/base/architecture/heads", 2, "models.base.architecture.heads", ["unknown key", "num_attention_heads"]),
    ("evaluation", {"batchsize": 2}, "evaluation.batchsize", ["unknown key", "Did you mean 'batch_size'?"]),
    ("methods/npo_klr/lr", REMOVE, "methods.npo_klr.lr", ["missing", "a number (greater than 0"]),
    ("methods/npo_klr/alpha", REMOVE, "methods.npo_klr.alpha", ["missing", "Weight of the retain term"]),
    ("models", REMOVE, "models", ["missing", "mapping"]),
    ("models/target", REMOVE, "models.target", ["missing"]),
    ("metrics/knowmem_forget", REMOVE, "metrics.knowmem_forget", ["missing"]),
    # formulations, storage, SURE
    ("methods/npo_klr/formulation", "papr", "methods.npo_klr.formulation", ["'papr'", "Did you mean 'paper'?"]),
    ("methods/npo_klr/state_storage", "float16", "methods.npo_klr.state_storage", ["bfloat16, float32"]),
    ("methods/npo_klr/stop_at", 0.5, "methods.npo_klr.stop_at", ["is 0.5", "must be a mapping"]),
    (
        "methods/npo_klr/stop_at",
        {"knowmem_forget": 1.5},
        "methods.npo_klr.stop_at.knowmem_forget",
        ["is 1.5", "greater than 0 and less than 1"],
    ),
    ("methods/npo_klr/stop_at", {"knowmem_retain": 0.8}, "methods.npo_klr.stop_at.knowmem_forget", ["missing"]),
    ("methods/npo_klr/mask", "paper", "methods.npo_klr.mask", ["unknown key"]),
    ("methods/npo_klr", SURE | {"percentile": 101}, "methods.npo_klr.percentile", ["is 101", "at least 0 and at most"]),
    ("methods/npo_klr", SURE | {"percentile": -1}, "methods.npo_klr.percentile", ["is -1", "at least 0 and at most"]),
    ("methods/npo_klr", SURE | {"mask": "rows"}, "methods.npo_klr.mask", ["'rows'", "Did you mean 'row'?"]),
    ("methods/npo_klr", SURE | {"modules": "lin"}, "methods.npo_klr.modules", ["linear, all"]),
    ("models/target/weight_scale", 0, "models.target.weight_scale", ["is 0", "greater than 0"]),
    ("evaluation", {"quantizers_per_job": 0}, "evaluation.quantizers_per_job", ["at least 1"]),
    # grids
    ("methods/npo_klr/grid", [1], "methods.npo_klr.grid", ["[1] (a list)", "mapping"]),
    ("methods/npo_klr/grid", {}, "methods.npo_klr.grid", ["empty"]),
    ("methods/npo_klr/grid", {"alpha": 1.0}, "methods.npo_klr.grid.alpha", ["is 1.0", "a list"]),
    ("methods/npo_klr/grid", {"alpha": []}, "methods.npo_klr.grid.alpha", ["an empty list"]),
    ("methods/npo_klr/grid", {"beta": [0.1, 0]}, "methods.npo_klr.grid.beta", ["is 0", "greater than 0"]),
    ("methods/npo_klr/grid", {"bata": [0.1]}, "methods.npo_klr.grid.bata", ["unknown key", "Did you mean 'beta'?"]),
    ("methods/npo_klr/grid", {"alpha": [1.0, 2.0]}, "methods.npo_klr.grid.alpha", ["stands in the entry too"]),
    ("methods/npo_klr/grid", {"beta": [0.1, 0.10000001]}, "methods.npo_klr.grid", ["would be called npo_klr-beta0.1"]),
    # values
    ("methods/npo_klr/lr", "1e-5", "methods.npo_klr.lr", ["'1e-5' (text)", "write 1.0e-5"]),
    ("methods/npo_klr/lr", "3E4", "methods.npo_klr.lr", ["write 3.0e+4"]),
    ("methods/npo_klr/alpha", "5", "methods.npo_klr.alpha", ["Write 5 without quotes"]),
    ("methods/npo_klr/lr", "fast", "methods.npo_klr.lr", ["'fast' (text)", "a number (greater than 0"]),
    ("methods/npo_klr/lr", 0, "methods.npo_klr.lr", ["is 0", "greater than 0"]),
    ("methods/npo_klr/lr", -1e-5, "methods.npo_klr.lr", ["is -1e-05", "greater than 0"]),
    ("methods/npo_klr/lr", float("nan"), "methods.npo_klr.lr", ["is nan", "a number"]),
    ("methods/npo_klr/lr", float("inf"), "methods.npo_klr.lr", ["is inf", "a number"]),
    ("methods/npo_klr/lr", True, "methods.npo_klr.lr", ["is true", "a number"]),
    ("methods/npo_klr/steps", 0, "methods.npo_klr.steps", ["is 0", "a whole number (at least 1"]),
    ("methods/npo_klr/steps", 2.5, "methods.npo_klr.steps", ["is 2.5", "a whole number"]),
    ("methods/npo_klr/batch_size", -8, "methods.npo_klr.batch_size", ["is -8", "at least 1"]),
    ("methods/npo_klr/storage", "float16", "methods.npo_klr.storage", ["bfloat16_kahan, float32"]),
    ("methods/npo_klr/kl_direction", "forward", "methods.npo_klr.kl_direction", ["reference_to_model"]),
    ("methods/npo_klr/epochs", 2, "methods.npo_klr", ["exactly one of steps and epochs", "it has steps and epochs"]),
    ("methods/npo_klr/steps", REMOVE, "methods.npo_klr", ["exactly one of steps and epochs", "neither"]),
    ("methods/npo_klr", None, "methods.npo_klr", ["is empty", "mapping"]),
    ("methods", {}, "methods", ["empty", "at least one"]),
    ("methods", ["npo"], "methods", ["['npo'] (a list)", "mapping"]),
    ("gpu", "yes please", "gpu", ["'yes please'", "true or false"]),
    ("gpu", 1, "gpu", ["is 1", "true or false"]),
    ("compute", "float64", "compute", ["'float64'", "float32, bfloat16"]),
    ("corpora/bios/forget", 0, "corpora.bios.forget", ["is 0", "at least 1 and at most 400"]),
    ("corpora/bios/questions", "verbatm", "corpora.bios.questions", ["Did you mean 'verbatim'?"]),
    ("models/target/lr", "3e-3", "models.target.lr", ["write 3.0e-3"]),
    ("models/target/weight_decay", -0.1, "models.target.weight_decay", ["is -0.1", "at least 0"]),
    ("models/base/architecture/vocab_size", 100, "models.base.architecture.vocab_size", ["at least 258"]),
    ("metrics/privleak/k", 400, "metrics.privleak.k", ["is 400", "greater than 0 and at most 100"]),
    ("metrics/privleak/k", -1, "metrics.privleak.k", ["greater than 0 and at most 100"]),
    ("metrics/privleak/reference", 47.72, "metrics.privleak.reference", ["is 47.72", "or a number", "at most 1"]),
    ("metrics/privleak/reference", "retain", "metrics.privleak.reference", ["Did you mean 'retrain'?"]),
    ("metrics/verbmem_forget/temperature", 0, "metrics.verbmem_forget.temperature", ["greater than 0"]),
    ("evaluation", {"bootstrap_samples": 0}, "evaluation.bootstrap_samples", ["at least 1"]),
    ("quantizers/int4/bits", 9, "quantizers.int4.bits", ["is 9", "at least 2 and at most 8"]),
    ("quantizers/int4/group_size", 0, "quantizers.int4.group_size", ["is 0", "(at least 1) or row"]),
    ("quantizers/int4/group_size", "rows", "quantizers.int4.group_size", ["'rows'", "Did you mean 'row'?"]),
    ("quantizers/nf4/format", "nf5", "quantizers.nf4.format", ["Did you mean 'nf4'?", "int8, fp4, nf4"]),
    # seeds and names
    ("seeds", [], "seeds", ["an empty list", "not empty"]),
    ("seeds", [0, 0], "seeds", ["[0, 0]", "different"]),
    ("seeds", 0, "seeds", ["is 0", "a list"]),
    ("seeds", [-1], "seeds[0]", ["is -1", "at least 0"]),
    ("study", "My Study", "study", ["'My Study'", "lower-case"]),
    ("study", 2024, "study", ["is 2024", "Put it in quotes"]),
    ("methods/retrain", {"method": "ga", "lr": 1e-5, "steps": 2}, "methods.retrain", ["not a possible name", "taken"]),
    ("methods/GA", {"method": "ga", "lr": 1e-5, "steps": 2}, "methods.GA", ["not a possible name", "lower-case"]),
    ("corpora/all", {"source": "synthetic"}, "corpora.all", ["not a possible name", "taken"]),
    ("quantizers/a b", {"backend": "full"}, "quantizers.a b", ["not a possible name"]),
    ("quantizers/..full", {"backend": "full"}, "quantizers...full", ["not a possible name"]),
    # keys that must fit together
    ("quantizers/full", REMOVE, "quantizers.full", ["missing"]),
    ("quantizers/full/backend", "bitsandbytes", "quantizers.full.format", ["missing"]),
    ("quantizers/full", {"backend": "rtn", "bits": 8, "group_size": "row"}, "quantizers.full.backend", ["be full"]),
    ("quantizers/int4/group_size", 100, "quantizers.int4", ["group_size 100", "width 128", "64, 128, or row"]),
    ("models/base", REMOVE, "models.base", ["missing", "target and retrain"]),
    ("models/retrain", REMOVE, "metrics.privleak.reference", ["no models.retrain", "number"]),
    ("models/base/architecture/num_attention_heads", 3, "models.base", ["hidden_size 128", "num_attention_heads 3"]),
    ("models/base/architecture/num_key_value_heads", 3, "models.base", ["num_key_value_heads 3", "divide"]),
    ("models/target/max_length", 513, "models.target.max_length", ["at most 512", "models.base"]),
    ("methods/npo_klr/max_length", REMOVE, "methods.npo_klr.max_length", ["is 2048", "at most 512", "models.base"]),
    # utility
    ("corpora/bios/world", 5, "corpora.bios.world", ["is 5", "0 or a whole number (at least 8 and at most 80)"]),
    ("metrics/world_facts", {}, "metrics.world_facts", ["corpora.bios has no utility/world.json", "`world`, to 24"]),
    ("metrics/world_facts", {"k": 3}, "metrics.world_facts.k", ["unknown key"]),
    ("metrics/fluency", {"prompt_tokens": 0}, "metrics.fluency.prompt_tokens", ["at least 1"]),
    ("metrics/fluency", {"max_new_tokens": 500}, "metrics.fluency", ["(17 tokens)", "517 positions", "512"]),
    ("metrics/mmlu", {"tasks": []}, "metrics.mmlu.tasks", ["an empty list"]),
    ("metrics/mmlu", {"tasks": "mmlu"}, "metrics.mmlu.tasks", ["'mmlu' (text)", "a list"]),
    ("metrics/mmlu", {"num_fewshot": -1}, "metrics.mmlu.num_fewshot", ["task or a whole number (at least 0)"]),
    ("metrics/mmlu", {"num_fewshot": None}, "metrics.mmlu.num_fewshot", ["is empty", "task or a whole number"]),
    ("metrics/triviaqa", {"limit": "ten"}, "metrics.triviaqa.limit", ["'ten' (text)", "at least 0"]),
    ("metrics/truthfulqa", {"include_path": "no/such"}, "metrics.truthfulqa.include_path", ["no such folder"]),
    ("methods/npo_klr/steps", 10**30, "methods.npo_klr.steps", ["is 1e+30", "largest whole number is 10"]),
    ("models/target/steps", 10**305, "models.target.steps", ["largest whole number is 1000000000"]),
    ("models/base/architecture/vocab_size", 10**12, "models.base.architecture.vocab_size", ["at most 1000000"]),
    ("evaluation", {"bootstrap_samples": 10**7}, "evaluation.bootstrap_samples", ["at most 1000000"]),
    # files
    ("corpora/bios", {"source": "muse"}, "corpora.bios", ["either `path` or `id`"]),
    ("corpora/bios", {"source": "muse", "id": "a/b"}, "corpora.bios", ["revision"]),
    ("corpora/bios", {"source": "muse", "path": "no/such"}, "corpora.bios", ["no such folder: no/such"]),
    ("corpora/bios", {"source": "muse", "id": "a/b", "revision": 1234567}, "corpora.bios.revision", ["in quotes"]),
    ("models/retrain", {"source": "local", "path": "no/such"}, "models.retrain", ["no such model directory"]),
    ("models/retrain", {"source": "local"}, "models.retrain.path", ["missing"]),
    ("models/target/compute", "float16", "models.target.compute", ["float32", "bfloat16"]),
    ("models/retrain", {"source": "hub", "id": "a/b"}, "models.retrain.revision", ["missing", "pins"]),
    ("models/retrain", {"source": "hub", "id": "a/b", "revision": "main"}, "models.retrain.revision", ["hexadecimal"]),
    ("corpora/bios", {"source": "muse", "id": "a/b", "revision": "v1"}, "corpora.bios.revision", ["40 hex", "move"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "key", "words"), WRONG, ids=[f"{row[0]}-{index}" for index, row in enumerate(WRONG)]
)
def test_a_wrong_value_is_answered_with_one_line_that_names_the_key(path, value, key, words):
    (line,) = problems(edited((path, value)))
    assert line.startswith(f"{key}: ")
    for word in words:
        assert word in line


def test_all_problems_are_told_at_once():
    wrong = edited(
        ("sedes", [1]),
        ("methods/npo_klr/lr", "1e-5"),
        ("methods/npo_klr/storag", "float32"),
        ("quantizers/int4/backend", "rnt"),
        ("quantizers/int8", {"backend": "rtn", "bits": 8, "group_size": 100}),
        ("models/retrain", {"source": "local", "path": "no/such"}),
        ("metrics/privleak/k", 101),
        ("corpora/more", {"source": "muse", "path": "nowhere"}),
    )
    keys = {line.split(": ")[0] for line in problems(wrong)}
    assert keys == {
        "sedes",
        "methods.npo_klr.lr",
        "methods.npo_klr.storag",
        "quantizers.int4.backend",
        "quantizers.int8",
        "models.retrain",
        "metrics.privleak.k",
        "corpora.more",
    }


@pytest.mark.parametrize(
    "wrong", [{}, {"methods": None, "models": [], "corpora": 3, "quantizers": "x", "metrics": {"privleak": None}}]
)
def test_a_configuration_wrong_all_over_is_still_answered(wrong):
    for section in ("methods", "models", "corpora", "quantizers", "metrics"):
        assert any(line.startswith(section) for line in problems(wrong))


def test_keys_that_yaml_does_not_read_as_text_are_refused():
    (line,) = problems(edited(("methods", {True: {"method": "ga", "lr": 1e-5, "steps": 2}})))
    assert "methods.True" in line and "quotes" in line


def test_of_an_entry_with_a_wrong_key_the_others_are_looked_at():
    lines = problems(edited(("methods/npo_klr/lr", 0), ("methods/npo_klr/max_length", 5000)))
    assert [line.split(": ")[0] for line in lines] == ["methods.npo_klr.lr", "methods.npo_klr.max_length"]


def test_what_a_class_checks_between_its_keys_is_reported_with_the_rest(monkeypatch):
    method = METHODS.get("npo_klr")

    class Strict(method.settings):
        @model_validator(mode="after")
        def check(self):
            if self.beta > self.alpha:
                raise ValueError(f"beta {self.beta} is above alpha {self.alpha}")
            return self

    monkeypatch.setitem(METHODS._entries, "npo_klr", dataclasses.replace(method, settings=Strict))
    lines = problems(edited(("methods/npo_klr/beta", 2.0), ("seeds", [0, 0])))
    assert lines == [
        "seeds: is [0, 0] (a list), must be a list that is not empty, all values different, each a whole "
        "number (at least 0).",
        "methods.npo_klr: beta 2.0 is above alpha 1.0",
    ]


# --- what is accepted -----------------------------------------------------------------------------------------------


def test_defaults_are_filled_in_and_the_input_stays_as_it_was():
    given = study()
    before = copy.deepcopy(given)
    full = config.resolve(given).plain()
    assert given == before
    assert full["study"] == "default" and full["seeds"] == [0] and full["compute"] == "float32"
    assert full["gpu"] is False
    assert full["evaluation"] == {"batch_size": 32, "bootstrap_samples": 2000, "quantizers_per_job": 1}
    assert Evaluation().scoring() == {"batch_size": 32, "bootstrap_samples": 2000}
    assert full["methods"]["npo_klr"] == {
        "method": "npo_klr",
        "lr": 1e-5,
        "lr_schedule": "constant",
        "warmup_steps": 0,
        "region": "all",
        "steps": 2,
        "batch_size": 8,
        "max_length": 64,
        "windows": "packed",
        "retain_pairing": "rotating",
        "optimizer": "adamw_fused",
        "storage": "bfloat16",
        "state_storage": "float32",
        "parameters": "full",
        "lora": {"rank": 8, "alpha": 16.0, "target_modules": "linear"},
        "reference": "cache",
        "gradient_checkpointing": False,
        "max_grad_norm": 1.0,
        "alpha": 1.0,
        "beta": 0.1,
        "formulation": "paper",
        "kl_direction": "reference_to_model",
    }
    assert full["quantizers"]["int4"]["scale"] == "llmcompressor"
    assert full["metrics"]["privleak"] == {"k": 40.0, "reference": "retrain"}
    assert full["metrics"]["verbmem_forget"]["max_new_tokens"] == 128
    assert full["models"]["target"]["weight_decay"] == 0.01
    assert full["models"]["base"]["architecture"]["initializer_range"] == 0.02
    assert full["corpora"]["bios"]["questions"] == "verbatim"


def test_resolving_twice_changes_nothing():
    once = config.resolve(study()).plain()
    assert config.resolve(once).plain() == once


def test_two_entries_may_use_one_method():
    full = config.resolve(edited(("methods/slow", {"method": "ga", "lr": 1e-6, "epochs": 1, "max_length": 64}))).plain()
    assert full["methods"]["slow"]["method"] == "ga" and "steps" not in full["methods"]["slow"]


def test_a_grid_becomes_a_model_for_each_combination():
    entry = {"steps": 2, "max_length": 64, "alpha": 1.0, "grid": {"lr": [1e-5, 5e-4], "storage": ["float32"]}}
    wanted = edited(("methods", {"npo_klr": entry, "mine": entry | {"method": "ga_gdr"}}))
    resolved = config.resolve(wanted).methods
    assert list(resolved) == [
        "npo_klr-lr1e-05-float32",
        "npo_klr-lr0.0005-float32",
        "mine-lr1e-05-float32",
        "mine-lr0.0005-float32",
    ]
    point = resolved["mine-lr0.0005-float32"]
    assert (point.method, point.lr, point.storage, point.grid) == ("ga_gdr", 5e-4, "float32", None)
    assert resolved["npo_klr-lr1e-05-float32"].method == "npo_klr"
    assert set(config.entry_names(wanted).values()) == {"npo_klr", "mine"}
    assert config.entry_names(study()) == {"npo_klr": "npo_klr"}


def test_an_unknown_method_of_a_grid_is_named_once():
    entry = {"steps": 2, "max_length": 64, "alpha": 1.0, "grid": {"lr": [1e-5, 5e-4]}}
    (line,) = problems(edited(("methods/npo_kl", entry)))
    assert line.startswith("methods.npo_kl: unknown method 'npo_kl'. Did you mean 'npo_klr'?")


def test_bfloat16_compute_holds_everything_in_bfloat16():
    lines = problems(edited(("compute", "bfloat16"), ("methods/npo_klr/storage", "bfloat16_stochastic")))
    assert [line.split(": ")[0] for line in lines] == ["methods.npo_klr.storage", "methods.npo_klr.state_storage"]
    assert config.resolve(edited(("compute", "bfloat16"), ("methods/npo_klr/state_storage", "bfloat16")))


def test_models_that_need_no_base_or_retrain():
    hub = {"source": "hub", "id": "muse-bench/MUSE-News_target", "revision": "0" * 40}
    given = edited(("models", {"target": hub}), ("metrics/privleak/reference", 0.4772))
    assert config.resolve(given).plain()["models"] == {"target": hub}


def hub_cache(home: Path, repository: str, files: dict[str, Path]) -> None:
    """Links in the Hub's cache as a download leaves them."""
    snapshot = home / f"hub/models--{repository.replace('/', '--')}/snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for name, path in files.items():
        (snapshot / name).symlink_to(path)


def test_a_model_whose_tokenizer_is_elsewhere_on_the_hub(tiny_llama, tmp_path, monkeypatch):
    """Before the download, half way through it, with a damaged file, and after it the study is the same."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    hub = {"source": "hub", "id": "me/weights", "revision": "0" * 40}
    hub["tokenizer"] = {"id": "me/words", "revision": "0" * 40}
    edits = (("models", {"target": hub}), ("metrics/privleak/reference", 0.4772))
    edits += tuple((f"metrics/{name}", {"max_new_tokens": 8}) for name in ("verbmem_forget", "knowmem_forget"))
    # People whose ten few-shot examples the tiny model's context holds, in its tokenizer's few words.
    edits += (("corpora/bios/seed", 4),)
    study = edited(*edits)
    resolved = config.resolve(study)
    short = tmp_path / "short.safetensors"
    short.write_bytes((tiny_llama / "model.safetensors").read_bytes()[:-2])
    hub_cache(tmp_path, "me/weights", {"config.json": tiny_llama / "config.json", "model.safetensors": short})
    assert config.resolve(study) == resolved
    hub_cache(tmp_path, "me/words", {"tokenizer.json": tiny_llama / "tokenizer.json"})
    assert config.resolve(study) == resolved
    short.write_bytes((tiny_llama / "model.safetensors").read_bytes())
    assert config.resolve(study) == resolved
    # Known now, so that what does not fit it is reported.
    assert describe(HubModel.of(hub)).linear and describe(HubModel.of(hub)).tokenizer
    (line,) = problems(edited(*edits, ("quantizers/int4/group_size", 48)))
    assert line.startswith("quantizers.int4: does not fit models.target")


def test_a_data_set_on_the_hub_is_not_looked_at():
    entry = {"source": "muse", "id": "muse-bench/MUSE-News", "revision": "0" * 40}
    assert config.resolve(edited(("corpora/news", entry))).corpora["news"].id == entry["id"]


def test_canonical_ignores_order_and_spelling():
    first = config.resolve(edited(("methods/npo_klr/lr", yaml.safe_load("1.0e-5")), ("methods/npo_klr/alpha", 1)))
    second = config.resolve(edited(("methods/npo_klr/lr", yaml.safe_load("0.00001")), ("methods/npo_klr/steps", 2.0)))
    turned = second.plain()
    turned = {key: turned[key] for key in reversed(turned)}
    assert config.canonical(first) == config.canonical(second) == config.canonical(turned)
    assert config.canonical({"b": 1, "a": [1.5, "é"]}) == '{"a":[1.5,"é"],"b":1}'
