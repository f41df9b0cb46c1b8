"""Unlearned models that were made elsewhere and are no version of the study's target: what is reported, and when."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_study import edited, problems

from relapse.models.loading import load_model
from relapse.runtime.errors import RelapseError
from relapse.runtime.registry import ROOT
from relapse.study.made_elsewhere import check


def rewrite(folder, name, change):
    path = folder / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def changed(folder, name, value):
    """Another value in one weight of a model."""
    weights = load_file(folder / "model.safetensors")
    weights[name][0, 0] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def lose_a_shard(folder):
    load_model(folder).save_pretrained(folder, max_shard_size="300KB")
    (folder / "model.safetensors").unlink()
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def drop_a_block(folder):
    model = load_model(folder)
    model.model.layers = model.model.layers[:1]
    model.config.num_hidden_layers = 1
    model.save_pretrained(folder)


def widen(folder):
    model = load_model(folder)
    model.resize_token_embeddings(330)
    model.save_pretrained(folder)


def swap_two_tokens(folder):
    def swap(tokenizer):
        tokens = tokenizer["model"]["vocab"]
        tokens["a"], tokens["b"] = tokens["b"], tokens["a"]
        return tokenizer

    rewrite(folder, "tokenizer.json", swap)


def say_quantized(folder):
    rewrite(folder, "config.json", lambda config: config | {"quantization_config": {"quant_method": "fp8"}})


def take_the_rank_away(folder):
    for path in folder.iterdir():
        path.unlink()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "PREFIX_TUNING"}))
    save_file({"prompt_embeddings": torch.zeros(2, 2)}, folder / "adapter_model.safetensors")


WRONG = [
    (lose_a_shard, ["lacks weights that model.safetensors.index.json names", "model-00002-of"]),
    (drop_a_block, ["different architectures", "has no model.layers.1."]),
    (widen, ["different sizes", "(320, 128)", "(330, 128)"]),
    (swap_two_tokens, ["different vocabularies", "'a'"]),
    (say_quantized, ["is quantized", "fp8"]),
    (take_the_rank_away, ["PREFIX_TUNING", "only LORA"]),
    (lambda folder: shutil.rmtree(folder), ["no such model directory"]),
]


@pytest.mark.parametrize(("spoil", "words"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_study_is_refused_before_anything_runs(tiny_llama, tmp_path, spoil, words):
    folder = shutil.copytree(tiny_llama, tmp_path / "unlearned")
    spoil(folder)
    with pytest.raises(RelapseError) as caught:
        check(folder, tiny_llama)
    assert all(word in str(caught.value) for word in words), caught.value


def test_the_study_names_the_entry_and_keys_that_it_does_not_have(tiny_llama, tmp_path):
    entry = {"source": "local", "path": str(tmp_path / "none"), "twin": "npo_klr"}
    assert problems(edited(("methods/mine", entry | {"lr": 1e-5})))[0].startswith("methods.mine.twin: unknown key.")
    del entry["twin"]
    assert problems(edited(("methods/mine", entry))) == [f"methods.mine: no such model directory: {tmp_path / 'none'}"]
    assert problems(edited(("methods/mine", {"source": "locl"}))) == [
        "methods.mine.source: is 'locl' (text), must be one of local, hub. Did you mean 'local'?"
    ]
    hub = {"source": "hub", "id": "me/mine", "revision": "main"}
    assert "must be a commit's 40 hexadecimal digits" in problems(edited(("methods/mine", hub)))[0]


def link(origin, target, out):
    settings = json.dumps({"source": "local", "path": str(origin)})
    command = [sys.executable, "-m", "scripts.link_unlearned", "--settings", settings]
    return subprocess.run(
        [*command, "--target", str(target), "--out", str(out)], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [(float("nan"), "model.embed_tokens.weight has weights that are not finite"), (None, "equals")],
)
def test_what_only_the_weights_tell_ends_the_linking_and_leaves_no_model(tiny_llama, tmp_path, value, words):
    folder = shutil.copytree(tiny_llama, tmp_path / "unlearned")
    if value is not None:
        changed(folder, "model.embed_tokens.weight", value)
    done = link(folder, tiny_llama, tmp_path / "out")
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
    assert str(folder) in done.stderr and not (tmp_path / "out").exists()


def test_a_tied_model_without_a_tokenizer_gets_the_targets(tied_llama, tmp_path):
    """Its output head may be stored or not."""
    folder = shutil.copytree(tied_llama, tmp_path / "unlearned")
    changed(folder, "model.embed_tokens.weight", 1.0)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for path in folder.glob("token*"):
        path.unlink()
    done = link(folder, tied_llama, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert load_model(tmp_path / "out").lm_head.weight[0, 0] == 1
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (tied_llama / "tokenizer.json").read_bytes()


def test_an_adapter_of_another_model_is_named(tiny_llama, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = load_model(tiny_llama)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter/adapter_model.safetensors")
    name = sorted(weights)[0]
    save_file(weights | {name: torch.zeros(2, 64)}, tmp_path / "adapter/adapter_model.safetensors")
    done = link(tmp_path / "adapter", tiny_llama, tmp_path / "out")
    assert done.returncode == 1 and "does not fit the model in" in done.stderr, done.stderr
    del weights[name]
    save_file(weights, tmp_path / "adapter/adapter_model.safetensors")
    done = link(tmp_path / "adapter", tiny_llama, tmp_path / "out")
    assert done.returncode == 1 and "it lacks: " in done.stderr, done.stderr
