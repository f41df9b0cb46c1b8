"""A study with compute: bfloat16: what holds for the models that it loads, unlearns and scores."""

import json
import math

import bitsandbytes.nn.modules
import programs
import pytest
import torch
from entries import corpus_settings, metrics_settings, quantizer_settings
from safetensors.torch import load_file

from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.evaluation.evaluate import evaluate
from relapse.quantization import BACKENDS
from relapse.runtime.errors import ConfigError
from relapse.study.schema import assemble, fill

TOKENS = torch.arange(2, 66).reshape(2, 32)  # (B, T)


def logits(directory, dtype, **settings) -> torch.Tensor:
    """(B, T, V) in float32 on the CPU, of bitsandbytes' model."""
    model = BACKENDS.get("bitsandbytes").load(directory, quantizer_settings("bitsandbytes", **settings), dtype)
    with torch.no_grad():
        return model(TOKENS.to(model.device)).logits.float().cpu()


@pytest.mark.parametrize("wanted", ["fp4", "nf4"])
def test_layers_that_multiply_in_float32_are_nearer_a_float32_model(tiny_llama, monkeypatch, wanted):
    """With the kernels of GPUs and most CPUs: those with AVX512-BF16 have another, which knows bfloat16 alone."""
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: False)
    float32 = logits(tiny_llama, torch.float32, format=wanted)
    study, layers = (
        (logits(tiny_llama, torch.bfloat16, format=wanted, layer_compute=compute) - float32).norm()
        for compute in ("study", "float32")
    )
    assert 0 < layers < study
    assert torch.equal(float32, logits(tiny_llama, torch.float32, format=wanted, layer_compute="float32"))


def test_int8_has_no_format_to_multiply_in(tiny_llama):
    settings = quantizer_settings("bitsandbytes", format="int8", layer_compute="float32")
    for refused in (
        lambda: BACKENDS.get("bitsandbytes").check({}, settings),
        lambda: BACKENDS.get("bitsandbytes").load(tiny_llama, settings),
    ):
        with pytest.raises(
            ConfigError, match=r"layer_compute is float32, but format: int8 .*: leave layer_compute out"
        ):
            refused()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder in MUSE's layout: people of the synthetic corpus, with one few-shot example for the tiny context."""
    source = SOURCES.get("synthetic")
    made = source.read(corpus_settings(forget=2, retain1=2, retain2=2, holdout=2))
    for split in ("forget", "retain"):
        made.knowmem[f"{split}_icl"] = made.knowmem[f"{split}_icl"][:1]
    folder = tmp_path_factory.mktemp("corpus")
    write(made, folder)
    return folder


QUANTIZERS = {
    "full": {"backend": "full"},
    "int4": {"backend": "rtn", "bits": 4, "group_size": 64},
    "fp4": {"backend": "bitsandbytes", "format": "fp4"},
}
METRICS = {
    "verbmem_forget": {"max_new_tokens": 3},
    "knowmem_forget": {"max_new_tokens": 3},
    "knowmem_retain": {"max_new_tokens": 3},
    "privleak": {"reference": 0.5},
}


@pytest.mark.parametrize("name", ["ga_gdr", "npo_klr"])
def test_unlearned_and_scored_in_bfloat16(tiny_llama, corpus, tmp_path, name):
    """As the rules run it: the programs' own, with what a 7B study sets."""
    settings = {"method": name, "lr": 1e-3, "steps": 3, "batch_size": 2, "max_length": 48, "alpha": 1.0}
    settings |= {"state_storage": "bfloat16"}
    study = {"methods": {name: settings}}
    schema, problems = assemble(study)
    assert not problems
    complete = fill(schema, study)["methods"][name]
    done = programs.run(
        *("unlearn", "--settings", json.dumps(complete), "--name", name, "--target", tiny_llama, "--corpus", corpus),
        *("--seed", "0", "--compute", "bfloat16", "--out", tmp_path / name),
    )
    assert done.returncode == 0, done.stderr
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_llama, tmp_path / name))
    assert {weight.dtype for weight in after.values()} == {torch.bfloat16}
    assert all(weight.isfinite().all() for weight in after.values())
    assert any(not torch.equal(weight, before[key]) for key, weight in after.items())
    training = json.loads((tmp_path / name / "training.json").read_text())
    assert all(math.isfinite(step[part]) for step in training["history"] for part in ("forget", "retain"))
    for quantizer in QUANTIZERS.values():
        result, records = evaluate(
            tmp_path / name, corpus, BACKENDS.settings(quantizer), metrics_settings(**METRICS), dtype=torch.bfloat16
        )
        assert result["settings"]["compute"] == "bfloat16" and result["scores"].keys() == METRICS.keys()
        assert all(math.isfinite(value) for score in result["scores"].values() for value in score.values())
        assert records and all(math.isfinite(record["score"]) for record in records)
