"""AutoAWQ and AutoGPTQ in the environments that Snakemake builds for them: a study with the one, the code of the other.

The environments (4 GB) are built once, by the study's own rule, and deleted afterwards.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from copies import HERE, Workflow, new_workflow
from in_gptqmodel import TOKENS
from in_legacy import WINDOWS
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from relapse.models.loading import linear_layers
from relapse.models.weights import read_tensors
from relapse.quantization import BACKENDS
from relapse.quantization.folding import Folding

pytestmark = pytest.mark.slow
QUANTIZER = "autoawq-int4"
GPTQ = {  # how far a weight may lie from the original, and the settings
    "int4": (0.2, {"group_size": 64}),
    "int8": (0.02, {"bits": 8, "group_size": 32, "symmetric": False, "act_order": "weight"}),
}
# The kernels compute in float16: a product of 384 numbers of about 1 is off by a few thousandths.
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The study with AutoAWQ, run to its end. Skipped only where the package index cannot be reached."""
    probe = [sys.executable, "-m", "pip", "index", "versions", "autoawq", "--retries", "2", "--timeout", "30"]
    asked = subprocess.run(probe, capture_output=True, text=True)
    if asked.returncode:
        pytest.skip(f"NOT TESTED: AutoAWQ and AutoGPTQ, since pip reaches no package index: {asked.stderr.strip()}")
    workflow = new_workflow(tmp_path_factory.mktemp("isolated"), "isolated.yaml")
    environments = workflow.directory / "results/.environments"
    try:
        wanted = (f"results/isolated/{name}.csv" for name in ("metrics", "recovery", "absorption"))
        done = workflow.snakemake("--cores", "2", *wanted)
        logs = "".join(log.read_text()[-3000:] for log in environments.glob("*.log"))
        assert done.returncode == 0, done.stderr[-6000:] + logs
        yield workflow
    finally:
        shutil.rmtree(environments, ignore_errors=True)


def run(workflow: Workflow, environment: str, *command: str) -> None:
    """Run a program in one of the environments, on one thread."""
    python = workflow.directory / f"results/.environments/{environment}/bin/python"
    variables = os.environ | {"PYTHONPATH": str(workflow.repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([python, *command], capture_output=True, text=True, env=variables, cwd=workflow.directory)
    assert done.returncode == 0, done.stderr[-3000:]


def full(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def checkpoints(finished, tiny_llama, tmp_path_factory) -> dict[str, tuple[str, Path, Path]]:
    """Name -> backend, checkpoint, and the model it was made of."""
    folder = tmp_path_factory.mktemp("checkpoints")
    results = finished.directory / "results/isolated"
    made = {
        "awq": ("autoawq", results / f"quantized/bios/target/seed0/{QUANTIZER}", results / "models/bios/target/seed0")
    }
    for name, (_, settings) in GPTQ.items():
        arguments = ("autogptq", str(tiny_llama), json.dumps(settings), str(folder / name))
        run(finished, "legacy", str(HERE / "in_legacy.py"), *arguments)
        made[name] = ("autogptq", folder / name, tiny_llama)
    return made


@pytest.fixture(scope="module")
def computed(finished, checkpoints, tmp_path_factory) -> dict[str, list[torch.Tensor]]:
    """Name -> what the checkpoint computes in the environment that scores it, twice: (B, T, V) each."""
    out = tmp_path_factory.mktemp("logits") / "logits.safetensors"
    given = [str(part) for backend, checkpoint, _ in checkpoints.values() for part in (backend, checkpoint)]
    run(finished, "gptqmodel", str(HERE / "in_gptqmodel.py"), str(out), *given)
    found = load_file(out)
    return {name: [found[f"{folder} {again}"] for again in (1, 2)] for name, (_, folder, _) in checkpoints.items()}


@pytest.mark.parametrize("name", ["legacy", "gptqmodel"])
def test_an_environment_holds_what_its_lock_says_and_the_torch_of_the_main_one(finished, name):
    python = finished.directory / f"results/.environments/{name}/bin/python"
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True)
    installed = {item["name"].lower().replace("_", "-"): item["version"] for item in json.loads(listed.stdout)}
    lock = (finished.repository / f"envs/{name}.txt").read_text()
    locked = dict(re.findall(r"^([a-z0-9][\w.-]*)==([^\s;]+)", lock, re.MULTILINE))
    assert len(locked) > 40
    assert {key: installed.get(key) for key in locked} == locked
    assert installed["torch"] == torch.__version__


def test_the_study_has_scores_recovery_and_absorption(finished):
    results = finished.directory / "results/isolated"
    tables = {}
    for name in ("metrics", "recovery", "absorption"):
        with (results / f"{name}.csv").open(newline="") as file:
            tables[name] = list(csv.DictReader(file))
    scored = [row for row in tables["metrics"] if row["quantizer"] == QUANTIZER]
    assert {(row["model"], row["metric"]) for row in scored} == {
        (model, metric)
        for model in ("target", "npo_klr")
        for metric in ("verbmem_forget", "knowmem_forget", "knowmem_retain", "privleak")
    }
    assert {row["quantizer"] for row in tables["recovery"]} == {QUANTIZER}
    [absorbed] = tables["absorption"]
    assert absorbed["quantizer"] == QUANTIZER and absorbed["model"] == "npo_klr"
    assert float(absorbed["surviving"]) != 0 and absorbed["predicted"] == ""


@pytest.mark.parametrize("model", ["target", "npo_klr"])
def test_log_probabilities_are_near_those_of_full_precision_and_not_the_same(finished, model):
    """Min-40 % averages log-probabilities of tokens; 4 bits move it a little, and no text keeps its value."""
    folder = finished.directory / f"results/isolated/metrics/bios/{model}/seed0"
    mean = {}
    for quantizer in ("full", QUANTIZER):
        lines = (folder / f"{quantizer}.records.jsonl").read_text().splitlines()
        records = [record for record in map(json.loads, lines) if record["metric"] == "privleak"]
        mean[quantizer] = torch.tensor([record["score"] for record in records])
    difference = (mean["full"] - mean[QUANTIZER]).abs()
    assert (difference > 0).all() and difference.mean() < 0.5
    result = json.loads((folder / f"{QUANTIZER}.json").read_text())
    assert result["calibration"]["drawn"] == 4 and result["settings"]["quantizer"]["backend"] == "autoawq"
    assert result["quantized_with"]["autoawq"] == "0.2.9" and result["quantized_with"]["transformers"] == "4.51.3"
    assert result["versions"]["transformers"] != "4.51.3"


def test_checkpoints_that_the_entry_keeps_are_kept(finished):
    """Not the target's alone, as in the miniature study (test_study.py), whose entry does not set `keep`."""
    quantized = finished.directory / "results/isolated/quantized/bios"
    kept = {path.relative_to(quantized).parts[0]: path for path in quantized.glob("*/seed0/*")}
    assert kept.keys() == {"target", "npo_klr"}
    weights = [BACKENDS.get("autoawq").dequantized(path) for path in kept.values()]
    assert any(not torch.equal(weights[0][layer], weights[1][layer]) for layer in weights[0])


def test_the_same_text_gives_the_same_bytes(finished, checkpoints, tmp_path):
    _, checkpoint, model = checkpoints["awq"]
    settings = json.loads(
        (finished.directory / f"results/isolated/metrics/bios/target/seed0/{QUANTIZER}.json").read_text()
    )
    command = [sys.executable, "-m", "scripts.quantize", "--model", str(model), "--out", str(tmp_path / "out")]
    command += ["--corpus", "results/isolated/corpora/bios", "--python", "results/.environments/legacy/bin/python"]
    command += ["--quantizer", json.dumps(settings["settings"]["quantizer"])]
    variables = os.environ | {"PYTHONPATH": str(finished.repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=finished.directory)
    assert done.returncode == 0, done.stderr[-3000:]
    for file in ("model.safetensors", "folding/scales.safetensors", "config.json", "calibration.json"):
        assert (tmp_path / "out" / file).read_bytes() == (checkpoint / file).read_bytes(), file


@pytest.mark.parametrize("name", ["awq", *GPTQ])
def test_a_checkpoint_computes_with_its_effective_weights(checkpoints, computed, name):
    """De-quantized and folded back into the original model, they give its logits; so do the raw ones with its norms."""
    backend, checkpoint, origin = checkpoints[name]
    backend = BACKENDS.get(backend)
    model = full(origin)
    original = {key: value.detach().clone() for key, value in model.named_parameters()}
    before = model(TOKENS).logits
    effective, raw = backend.effective(checkpoint), backend.dequantized(checkpoint)
    assert effective.keys() == raw.keys() == {f"{layer}.weight" for layer in linear_layers(model)}
    most = GPTQ[name][0] if name in GPTQ else 0.2
    for layer, weight in effective.items():
        assert (weight - original[layer]).norm() < most * original[layer].norm(), layer
    assert bool(Folding.read(checkpoint).columns) is (name == "awq")
    first, second = computed[name]
    assert torch.equal(first, second) and torch.isfinite(first).all()
    assert (first - before).abs().max() > 2 * TOLERANCE
    others = {key: value for key, value in read_tensors(checkpoint).items() if key in original}
    for weights in (effective, raw | others):
        with torch.no_grad():
            for key, weight in weights.items():
                model.get_parameter(key).copy_(weight)
            assert (first - model(TOKENS).logits).abs().max() < TOLERANCE


def test_the_older_transformers_computes_what_the_newer_one_does(finished, tmp_path):
    """On a model with the rotary positions of Llama 3, whose settings the two read under different names."""
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        rope_parameters=rope | {"original_max_position_embeddings": 32},
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    out = tmp_path / "logits.safetensors"
    run(finished, "legacy", str(HERE / "in_legacy.py"), "logits", str(tmp_path / "model"), "{}", str(out))
    with torch.no_grad():
        expected = full(tmp_path / "model")(torch.tensor(WINDOWS)).logits
    torch.testing.assert_close(load_file(out)["logits"], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_autogptq_itself_still_refuses_a_cpu(finished, tiny_llama):
    """Fails once it quantizes without CUDA: then `needs_gpu` can go."""
    python = finished.directory / "results/.environments/legacy/bin/python"
    program = "from auto_gptq import AutoGPTQForCausalLM, BaseQuantizeConfig\n"
    program += f"AutoGPTQForCausalLM.from_pretrained({str(tiny_llama)!r}, BaseQuantizeConfig())"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True)
    assert done.returncode and "requires CUDA available" in done.stderr
