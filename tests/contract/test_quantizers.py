"""One suite for every quantizer backend: whatever registers itself is covered, on its own `examples`.

A calibrated backend is quantized once for each example, on windows of random tokens, and what it wrote is loaded. Those
that run in an environment of their own have tests of their own (test_isolated.py).
"""

import math
import shutil

import pytest
import torch
from entries import quantizer_settings
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from relapse.models.loading import linear_layers
from relapse.quantization import BACKENDS, Calibrated, DataFree
from relapse.quantization.folding import Folding
from relapse.quantization.pruner import Pruner
from relapse.runtime.errors import ConfigError, RelapseError


def cases(kind: type | tuple[type, ...]) -> list:
    return [
        pytest.param(name, quantizer_settings(name, **keys), id=f"{name}-{'-'.join(map(str, keys.values()))}")
        for name in BACKENDS.names()
        if isinstance(BACKENDS.get(name), kind) and not getattr(BACKENDS.get(name), "environment", None)
        for keys in BACKENDS.get(name).examples
    ]


every_setting = pytest.mark.parametrize(("name", "settings"), cases((DataFree, Calibrated)))
every_data_free = pytest.mark.parametrize(("name", "settings"), cases(DataFree))
every_calibrated = pytest.mark.parametrize(("name", "settings"), cases(Calibrated))
TOKENS = torch.arange(2, 66).reshape(2, 32)  # (B, T)
WINDOWS = torch.randint(2, 300, (12, 64), generator=torch.Generator().manual_seed(0)).tolist()


def logits(model) -> torch.Tensor:
    """(B, T, V) on the CPU."""
    with torch.no_grad():
        return model(TOKENS.to(model.device)).logits.cpu()


def full(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def ready(tmp_path_factory):
    """ready(directory, name, settings): what the backend's `load` takes, the model itself or its checkpoint."""
    made = {}

    def directory_for(directory, name, settings):
        backend = BACKENDS.get(name)
        if isinstance(backend, DataFree):
            return directory
        key = directory, settings.model_dump_json()
        if key not in made:
            made[key] = tmp_path_factory.mktemp(name)
            backend.quantize(directory, settings, WINDOWS, made[key])
        return made[key]

    return directory_for


@pytest.fixture
def small_llama(request, name, settings):
    """The tiny Llama, or the wide one where a format does not fit its layers."""
    model = full(tiny := request.getfixturevalue("tiny_llama"))
    try:
        BACKENDS.get(name).check(shapes_of(model), settings)
    except ConfigError:
        return request.getfixturevalue("wide_llama")
    return tiny


def shapes_of(model) -> dict[str, tuple[int, int]]:
    """Layer -> (out, in)."""
    return {layer: tuple(model.get_submodule(layer).weight.shape) for layer in linear_layers(model)}


@every_setting
def test_gives_finite_logits_that_repeat(small_llama, ready, name, settings):
    backend, directory = BACKENDS.get(name), ready(small_llama, name, settings)
    first, second = (logits(backend.load(directory, settings)) for _ in range(2))
    assert first.dtype == torch.float32
    assert torch.isfinite(first).all()
    assert torch.equal(first, second)


@every_calibrated
def test_the_same_windows_give_the_same_bytes(tiny_llama, ready, tmp_path, name, settings):
    BACKENDS.get(name).quantize(tiny_llama, settings, WINDOWS, tmp_path)
    first = ready(tiny_llama, name, settings)
    for file in sorted(path.relative_to(first) for path in first.rglob("*.safetensors")):
        assert (first / file).read_bytes() == (tmp_path / file).read_bytes()


@every_calibrated
def test_other_windows_give_other_weights(tiny_llama, ready, tmp_path, name, settings):
    others = torch.randint(2, 300, (3, 64), generator=torch.Generator().manual_seed(1)).tolist()
    BACKENDS.get(name).quantize(tiny_llama, settings, others, tmp_path)
    first = ready(tiny_llama, name, settings)
    assert (first / "model.safetensors").read_bytes() != (tmp_path / "model.safetensors").read_bytes()


@every_calibrated
def test_its_checkpoint_holds_codes_or_zeros_and_loads_elsewhere(tiny_llama, ready, name, settings):
    """What `load` gives is what AutoModelForCausalLM gives; the tokenizer is there; weights are codes, or pruned."""
    directory = ready(tiny_llama, name, settings)
    elsewhere = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    assert torch.equal(logits(elsewhere), logits(BACKENDS.get(name).load(directory, settings)))
    text = "Question: Where?\nAnswer: Lund"
    assert AutoTokenizer.from_pretrained(directory)(text) == AutoTokenizer.from_pretrained(tiny_llama)(text)
    with safe_open(directory / "model.safetensors", "pt") as tensors:
        packed = [key for key in tensors.keys() if "packed" in key]  # noqa: SIM118
        if isinstance(BACKENDS.get(name), Pruner):
            assert not packed
            for layer in linear_layers(elsewhere):
                zeros = (tensors.get_tensor(f"{layer}.weight") == 0).float().mean().item()
                assert zeros == pytest.approx(settings.share, abs=0.01), layer
            return
        assert len(packed) == 14
        assert all(tensors.get_tensor(key).dtype == torch.int32 for key in packed)


@every_calibrated
def test_effective_weights_are_near_the_originals_and_what_the_model_computes_with(tiny_llama, ready, name, settings):
    """Folded back, they differ from the originals by rounding alone, at most one of a group's 2^bits steps or so, or by
    the smallest weights that pruning took."""
    backend, directory = BACKENDS.get(name), ready(tiny_llama, name, settings)
    original = dict(full(tiny_llama).named_parameters())
    model = backend.load(directory, settings)
    logits(model)  # compressed layers unpack at the first forward pass
    dequantized_, effective = backend.dequantized(directory), backend.effective(directory)
    assert len(effective) == 14
    for layer, weight in effective.items():
        assert torch.equal(dequantized_[layer], model.get_parameter(layer).detach()), layer
        error = (weight - original[layer]).norm() / original[layer].norm()
        assert error < (0.3 if isinstance(backend, Pruner) else {4: 0.2, 8: 0.02}[settings.bits]), layer
    folding = Folding.read(directory)
    moved = any(not torch.equal(effective[layer], dequantized_[layer]) for layer in effective)
    assert moved is bool(folding.columns) is (name == "awq")


@every_calibrated
def test_a_model_that_is_not_quantized_is_refused_by_load(tiny_llama, name, settings):
    with pytest.raises(RelapseError, match=r"is not quantized, .* scripts\.quantize"):
        BACKENDS.get(name).load(tiny_llama, settings)


@every_data_free
def test_saved_directory_reloads_with_the_same_logits_and_tokenizer(small_llama, tmp_path, name, settings):
    backend = BACKENDS.get(name)
    backend.save(small_llama, settings, tmp_path)
    assert list(tmp_path.glob("*.safetensors"))
    assert not list(tmp_path.glob("*.bin"))
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert torch.equal(logits(reloaded), logits(backend.load(small_llama, settings)))
    text = "Question: Where?\nAnswer: Lund"
    assert AutoTokenizer.from_pretrained(tmp_path)(text) == AutoTokenizer.from_pretrained(small_llama)(text)


@pytest.mark.parametrize("model", ["small_llama", "tied_llama"])
@every_data_free
def test_changes_the_linear_layers_and_nothing_else(request, model, name, settings):
    directory = request.getfixturevalue(model)
    original, quantized = full(directory), BACKENDS.get(name).load(directory, settings)
    touched = set() if name == "full" else {f"{layer}.weight" for layer in linear_layers(original)}
    before, after = dict(original.named_parameters()), dict(quantized.named_parameters())
    assert before.keys() == after.keys()
    for parameter, value in before.items():
        same = after[parameter].shape == value.shape and torch.equal(after[parameter].cpu(), value)
        assert same is (parameter not in touched), parameter
    assert torch.equal(quantized.get_output_embeddings().weight.cpu(), original.get_output_embeddings().weight)
    assert torch.equal(logits(quantized), logits(original)) is (name == "full")


@every_setting
def test_check_accepts_what_load_accepts(small_llama, name, settings):
    BACKENDS.get(name).check(shapes_of(full(small_llama)), settings)


def dequantized(model, layer: str) -> torch.Tensor:
    """The weight that a loaded layer computes with, (out, in) float32."""
    import bitsandbytes.functional as kernels

    weight = model.get_submodule(layer).weight
    if getattr(weight, "quant_state", None) is not None:
        return kernels.dequantize_4bit(weight.data, weight.quant_state).float()
    if getattr(weight, "SCB", None) is not None:
        return weight.CB.float() * (weight.SCB.float() / 127).unsqueeze(1)
    return weight.float()


@every_data_free
def test_rounded_is_the_weight_that_the_loaded_model_computes_with(small_llama, name, settings):
    backend, original = BACKENDS.get(name), full(small_llama)
    model = backend.load(small_llama, settings)
    for layer in linear_layers(original):
        weight = original.get_submodule(layer).weight.detach()
        assert torch.equal(backend.rounded(weight, settings), dequantized(model, layer)), layer


@every_data_free
def test_no_level_of_its_grid_is_nearer_than_the_rounded_weight(small_llama, name, settings):
    backend, original = BACKENDS.get(name), full(small_llama)
    for layer in linear_layers(original):
        weight = original.get_submodule(layer).weight.detach()
        grid = backend.grid(weight, settings)
        if grid is None:
            return  # a backend that does not round each weight by itself has no grid
        assert grid.scale.shape == weight.shape
        assert torch.equal(grid.levels, grid.levels.sort().values)
        error, best = (weight - backend.rounded(weight, settings)).abs(), (weight - grid.round(weight)).abs()
        # fp16 in LLM.int8 and fast division in the 4-bit kernels move a weight that lies on a boundary.
        assert (error <= best + 2e-3 * grid.scale.abs() * grid.levels.abs().max()).all()
        inside = weight / grid.scale < grid.levels[-1]
        inside &= weight / grid.scale > grid.levels[0]
        assert (best <= grid.local_step(weight) / 2 * (1 + 1e-3))[inside].all()


@pytest.mark.parametrize("model", ["tiny_llama", "tied_llama"])
@every_calibrated
def test_calibrated_ones_leave_embeddings_and_head_alone(request, ready, model, name, settings):
    directory = request.getfixturevalue(model)
    original, quantized = full(directory), BACKENDS.get(name).load(ready(directory, name, settings), settings)
    for get in ("get_input_embeddings", "get_output_embeddings"):
        assert torch.equal(getattr(quantized, get)().weight, getattr(original, get)().weight)
    assert not torch.equal(logits(quantized), logits(original))


def test_linear_layers_are_the_blocks_matrices_without_the_head(tiny_llama):
    names = linear_layers(full(tiny_llama))
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    parts += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    assert names == [f"model.layers.{layer}.{part}" for layer in range(2) for part in parts]


def test_a_model_without_linear_layers_is_refused():
    class Headless(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(4, 4)

        def get_output_embeddings(self):
            return self.head

    with pytest.raises(RelapseError, match="nothing to quantize"):
        linear_layers(Headless())


def test_a_group_that_does_not_divide_is_told_with_its_layer_and_what_fits(tiny_llama):
    rtn = BACKENDS.get("rtn")
    message = r"group_size 96 does not divide the input width 128 of layer model\.layers\.0\.self_attn\.q_proj "
    with pytest.raises(ConfigError, match=message + r"\(and of 11 more\)\. .* 1, 2, 4, 8, 16, 32, 64, 128, or row\."):
        rtn.load(tiny_llama, quantizer_settings("rtn", bits=4, group_size=96))
    with pytest.raises(ConfigError, match="width 384 of layer down"):
        rtn.check({"up": (384, 256), "down": (256, 384)}, quantizer_settings("rtn", bits=4, group_size=256))


@every_setting
def test_a_directory_without_weights_is_refused(small_llama, tmp_path, name, settings):
    with pytest.raises(RelapseError, match=str(tmp_path)):
        BACKENDS.get(name).load(tmp_path, settings)
    shutil.copy(small_llama / "config.json", tmp_path)
    with pytest.raises(RelapseError, match=str(tmp_path)):
        BACKENDS.get(name).load(tmp_path, settings)


def test_weights_that_are_not_finite_are_refused(tiny_llama, tmp_path):
    model = full(tiny_llama)
    with torch.no_grad():
        model.get_submodule("model.layers.1.mlp.up_proj").weight[3, 5] = math.nan
    model.save_pretrained(tmp_path)
    with pytest.raises(RelapseError, match=r"model\.layers\.1\.mlp\.up_proj is not finite"):
        BACKENDS.get("rtn").load(tmp_path, quantizer_settings("rtn", bits=4, group_size="row"))


def test_a_required_option_left_out_is_named():
    with pytest.raises(ConfigError, match="bits: Field required; group_size: Field required"):
        BACKENDS.settings({"backend": "rtn"})
