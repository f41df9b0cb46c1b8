"""A folder with an adapter alone in `relapse audit` and `relapse score`: merged with its base, as by hand."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from relapse.cli.main import parser
from relapse.corpora.corpus import write
from relapse.corpora.synthetic import Synthetic
from relapse.models.loading import load_model
from relapse.planning.merging import whole
from relapse.runtime.errors import ConfigError, RelapseError
from relapse.runtime.registry import ROOT

LAYERS = [f"model.layers.{block}.self_attn.{name}_proj" for block in (0, 1) for name in ("q", "v")]
RANK, ALPHA = 2, 6


@pytest.fixture(scope="module")
def adapter(tiny_llama, tmp_path_factory):
    """LoRA on queries and values whose B is not zero."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("made") / "adapter"
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "v_proj"])
    adapted = get_peft_model(load_model(tiny_llama), config)
    generator = torch.Generator().manual_seed(0)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = 0.05 * torch.randn(weight.shape, generator=generator)
    adapted.save_pretrained(folder)
    return folder


def by_hand(base, adapter, to, dtype=torch.bfloat16):
    """W + (alpha / rank) B A in float32, rounded once: a folder with whole weights."""
    shutil.copytree(base, to)
    weights, small = load_file(base / "model.safetensors"), load_file(adapter / "adapter_model.safetensors")
    for layer in LAYERS:
        a, b = (small[f"base_model.model.{layer}.lora_{which}.weight"].float() for which in "AB")
        weights[f"{layer}.weight"] = (weights[f"{layer}.weight"].float() + ALPHA / RANK * (b @ a)).to(dtype)
    save_file(weights, to / "model.safetensors", {"format": "pt"})
    return to


@pytest.fixture(scope="module")
def merged(tiny_llama, adapter, tmp_path_factory):
    return by_hand(tiny_llama, adapter, tmp_path_factory.mktemp("merged") / "whole")


@pytest.fixture(scope="module")
def muse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("muse")
    sizes = {"forget": 2, "retain1": 2, "retain2": 2, "holdout": 2}
    write(Synthetic().read(Synthetic.settings.of({"source": "synthetic", **sizes})), folder)
    return folder


def relapse(*words):
    args = parser().parse_args(list(map(str, words)))
    args.do(args)


def test_an_adapter_is_merged_once_in_float32_and_only_its_layers_change(tiny_llama, adapter, merged):
    with whole([tiny_llama, adapter], tiny_llama) as (same, folder):
        assert same == tiny_llama
        found, expected = (load_file(one / "model.safetensors") for one in (folder, merged))
        base = load_file(tiny_llama / "model.safetensors")
        assert found.keys() == expected.keys()
        for name, weight in found.items():
            assert weight.dtype == torch.bfloat16 and torch.equal(weight, expected[name]), name
            assert torch.equal(weight, base[name]) == (name.removesuffix(".weight") not in LAYERS)
    assert not folder.exists()


def test_a_base_in_float32_stays_in_float32(tiny_llama, adapter, tmp_path):
    """Otherwise the rounding of every other weight would look like an update."""
    wide = shutil.copytree(tiny_llama, tmp_path / "wide")
    weights = {name: weight.float() + 1e-5 for name, weight in load_file(tiny_llama / "model.safetensors").items()}
    save_file(weights, wide / "model.safetensors", {"format": "pt"})
    with whole([adapter], wide) as (folder,):
        found = load_file(folder / "model.safetensors")
        for name, weight in weights.items():
            assert found[name].dtype == torch.float32
            assert torch.equal(found[name], weight) == (name.removesuffix(".weight") not in LAYERS)


def test_an_audit_of_an_adapter_is_that_of_the_merged_model(tiny_llama, adapter, merged, tmp_path, capsys):
    relapse("audit", "--target", tiny_llama, "--unlearned", merged, adapter, "--output", tmp_path / "out")
    printed = capsys.readouterr().out
    assert f"\n{adapter}\n" in printed and "relapse-merged" not in printed.replace(f"merging {adapter}", "")
    assert "rank 2: " in printed
    whole_one, from_adapter = json.loads((tmp_path / "out/audit.json").read_text())["models"]
    assert (whole_one.pop("unlearned"), from_adapter.pop("unlearned")) == (str(merged), str(adapter))
    assert whole_one == from_adapter


def test_a_score_of_an_adapter_is_that_of_the_merged_model(tiny_llama, adapter, merged, muse, tmp_path):
    found = {}
    for name, words in {"merged": [merged], "adapter": [adapter, "--base", tiny_llama]}.items():
        out = tmp_path / name
        more = ("--metrics", "verbmem_forget,max_new_tokens=6", "--quantizer", "rtn-int4-g32", "--output", out)
        relapse("score", "--corpus", muse, *more, "--log-samples", "--model", *words)
        found[name] = (out / "samples.jsonl").read_text(), json.loads((out / "results.json").read_text())
    assert found["merged"][0] == found["adapter"][0] and found["merged"][0]
    assert found["merged"][1].pop("model") == str(merged) and found["adapter"][1].pop("model") == str(adapter)
    assert found["merged"][1] == found["adapter"][1]


def test_scoring_uses_the_model_that_an_adapter_names(tiny_llama, adapter, tmp_path):
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_llama)
    with whole([adapter]) as (folder,):
        assert (folder / "model.safetensors").is_file()
    elsewhere = shutil.copytree(adapter, tmp_path / "elsewhere")
    for named in ("meta-llama/Llama-2-7b-hf", None):
        (elsewhere / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": named}))
        with (
            pytest.raises(ConfigError, match=f"is an adapter of {named or 'a model that'}.*give --base DIR"),
            whole([elsewhere]),
        ):
            pass


def test_an_adapter_that_changes_nothing_is_named_by_its_own_folder(tiny_llama, adapter, tmp_path):
    zero = shutil.copytree(adapter, tmp_path / "zero")
    weights = load_file(zero / "adapter_model.safetensors")
    save_file({name: 0 * weight for name, weight in weights.items()}, zero / "adapter_model.safetensors")
    with pytest.raises(RelapseError, match=f"^{zero} equals {tiny_llama} in every weight"):
        relapse("audit", "--target", tiny_llama, "--unlearned", zero)


def test_what_cannot_be_merged_is_named_before_anything_is(tiny_llama, adapter, merged, muse, tmp_path):
    broken = shutil.copytree(merged, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=f"{broken} has no weights"):
        relapse("audit", "--target", tiny_llama, "--unlearned", adapter, broken)
    with pytest.raises(ConfigError, match="is no adapter alone: leave it out"):
        relapse("score", "--model", merged, "--base", tiny_llama, "--corpus", muse)
    command = [sys.executable, "-m", "relapse.cli.main", "audit", "--target", adapter, "--unlearned", merged]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and f"{adapter} is an adapter (LoRA) of {tiny_llama}, not a model" in done.stderr
    assert "Traceback" not in done.stderr
