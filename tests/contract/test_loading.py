"""What lies in a model's folder is what is scored, or it is refused: the same under every registered quantizer."""

import json
import shutil

import pytest
import torch
from entries import quantizer_settings
from safetensors.torch import load_file, save_file

from relapse.models import stored
from relapse.models.files import read_model
from relapse.models.loading import load_model
from relapse.quantization import BACKENDS, Compared, DataFree
from relapse.runtime.errors import RelapseError

WINDOWS = torch.randint(2, 300, (4, 32), generator=torch.Generator().manual_seed(0)).tolist()
# A packed checkpoint: none of the libraries that make one is needed to see what it lacks.
PACKED = {"autogptq": "gptq", "autoawq": "awq"}
# A counterfactual loads the model as full precision does.
ALONE = [name for name in BACKENDS.names() if not isinstance(BACKENDS.get(name), Compared)]
every_quantizer = pytest.mark.parametrize("name", ALONE)


@pytest.fixture
def folder(tiny_llama, tmp_path):
    shutil.copytree(tiny_llama, tmp_path / "model")
    return tmp_path / "model"


def change(folder, add=None, drop=()):
    """Rewrite a folder's weights with tensors more or fewer."""
    tensors = load_file(folder / "model.safetensors") | (add or {})
    save_file({k: v for k, v in tensors.items() if k not in drop}, folder / "model.safetensors", {"format": "pt"})


def configure(folder, **keys):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def pack(folder, method):
    """The linear layers as AutoGPTQ and AutoAWQ name what they store."""
    tensors = load_file(folder / "model.safetensors")
    layers = [name.removesuffix(".weight") for name in tensors if "_proj" in name]
    packed = {
        f"{layer}.{part}": torch.zeros(4, 4) for layer in layers for part in ("qweight", "qzeros", "scales", "bias")
    }
    change(folder, packed, [f"{layer}.weight" for layer in layers])
    configure(folder, quantization_config={"quant_method": method, "bits": 4, "group_size": 64})


def load(name, folder):
    """What the quantizer does with the folder: rounds as it loads, or looks at text first, or loads what it wrote."""
    backend = BACKENDS.get(name)
    settings = quantizer_settings(name, **backend.examples[0])
    if isinstance(backend, DataFree):
        return backend.load(folder, settings)
    if name in PACKED:
        pack(folder, PACKED[name])
        return backend.load(folder, settings)
    return backend.quantize(folder, settings, WINDOWS, folder.parent / "out")


@every_quantizer
@pytest.mark.parametrize("tensor", ["lm_head.weight", "model.norm.weight"])
def test_missing_weights_are_named(folder, name, tensor):
    change(folder, drop=[tensor])
    with pytest.raises(RelapseError, match=f"lacks the weights of {tensor}"):
        load(name, folder)


@every_quantizer
@pytest.mark.parametrize("tensor", ["model.layers.0.self_attn.q_proj.bias", "model.layers.2.input_layernorm.weight"])
def test_weights_without_a_place_are_named(folder, name, tensor):
    change(folder, {tensor: torch.ones(128, dtype=torch.bfloat16)})
    with pytest.raises(RelapseError, match=f"has weights that the model has no place for: {tensor}"):
        load(name, folder)


@every_quantizer
def test_an_adapter_beside_merged_weights_is_named_with_its_files(folder, name):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    save_file({"a": torch.ones(1)}, folder / "adapter_model.safetensors")
    with pytest.raises(RelapseError, match=r"delete adapter_config\.json and adapter_model\.safetensors"):
        load(name, folder)


def test_biases_of_zeros_beside_packed_layers_are_left_alone(folder):
    """AutoGPTQ stores one for every layer of a model that has none."""
    pack(folder, "gptq")
    layer = "model.layers.0.self_attn.q_proj"
    change(folder, {f"{layer}.bias": torch.zeros(128)})
    stored.check(folder, packed=True)
    change(folder, {f"{layer}.bias": torch.ones(128)})
    with pytest.raises(RelapseError, match=f"no place for: {layer}.bias"):
        stored.check(folder, packed=True)


def test_an_adapter_alone_is_named_with_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    for read in (read_model, load_model):
        with pytest.raises(RelapseError, match=r"is an adapter \(LoRA\) of org/base, not a model: merge it"):
            read(tmp_path)


@every_quantizer
@pytest.mark.parametrize("how", [{"quant_method": "fp8"}, {"quant_method": "gptq", "bits": 4}])
def test_a_model_that_is_quantized_already_is_no_full_precision(folder, name, how):
    if name in PACKED:
        pytest.skip("it reads checkpoints; scripts.quantize asks before it starts")
    configure(folder, quantization_config=how)
    with pytest.raises(RelapseError, match=f"is quantized .*quant_method {how['quant_method']}"):
        load(name, folder)


def test_eight_bit_weights_without_a_word_in_the_configuration_are_seen(folder):
    weight = load_file(folder / "model.safetensors")["lm_head.weight"].to(torch.float8_e4m3fn)
    change(folder, {"lm_head.weight": weight})
    with pytest.raises(RelapseError, match=r"is quantized: its files hold lm_head\.weight as F8_E4M3"):
        load_model(folder)


def test_a_shape_that_config_json_does_not_know_is_named(folder):
    change(folder, {"model.norm.weight": torch.ones(64, dtype=torch.bfloat16)})
    with pytest.raises(RelapseError, match=r"model\.norm\.weight is \(64,\) in the files and \(128,\) by config\.json"):
        load_model(folder)


def test_what_needs_no_place_is_left_alone(folder, tied_llama, tmp_path):
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16)}
    change(folder, buffer | {"vision_tower.encoder.weight": torch.ones(4)})
    load_model(folder)
    shutil.copytree(tied_llama, tmp_path / "tied")
    load_model(tmp_path / "tied")  # the head is the embedding, and stored once
    embedding = load_file(tmp_path / "tied/model.safetensors")["model.embed_tokens.weight"]
    change(tmp_path / "tied", {"lm_head.weight": embedding.clone()})
    load_model(tmp_path / "tied")  # or twice
