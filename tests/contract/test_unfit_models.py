"""Models that a quantizer cannot run on: its error names the layer, the reason, and what would fit.

The tests of the isolated backends stand in tests/test_isolated.py and, with their libraries, in tests/workflow.
"""

import shutil

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, has_avx512bf16
from entries import quantizer_settings
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTBigCodeConfig,
    GPTBigCodeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from relapse.models.files import read_model
from relapse.models.weights import StoredWeights
from relapse.quantization import BACKENDS, check_group_size, check_multiples
from relapse.runtime.errors import ConfigError, RelapseError

WINDOWS = torch.randint(2, 300, (8, 32), generator=torch.Generator().manual_seed(0)).tolist()
SIZES = {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
GPT_SIZES = {"vocab_size": 320, "n_embd": 64, "n_layer": 1, "n_head": 2, "n_positions": 128}
GPT_SIZES |= {"bos_token_id": 0, "eos_token_id": 1}


def llama(width: int, inner: int):
    return LlamaForCausalLM(LlamaConfig(**SIZES | {"hidden_size": width}, intermediate_size=inner))


def opt():
    return OPTForCausalLM(OPTConfig(**SIZES, ffn_dim=128, word_embed_proj_dim=64))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(**GPT_SIZES))


def big_code():
    return GPTBigCodeForCausalLM(GPTBigCodeConfig(**GPT_SIZES))


def mixtral():
    return MixtralForCausalLM(MixtralConfig(**SIZES, intermediate_size=64, num_key_value_heads=2, num_local_experts=2))


@pytest.fixture
def saved(tiny_llama, tmp_path):
    """Write a model with a tokenizer: `saved(model)` gives the folder."""

    def write(model):
        model.save_pretrained(tmp_path / "model")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_llama / file, tmp_path / "model")
        return tmp_path / "model"

    return write


def run(name: str, folder, keys: dict, windows: list = WINDOWS) -> None:
    """Quantize: a data-free backend as it loads, a calibrated one on windows."""
    backend, settings = BACKENDS.get(name), quantizer_settings(name, **keys)
    if hasattr(backend, "quantize"):
        backend.quantize(folder, settings, windows, folder.parent / "out")
    else:
        backend.load(folder, settings)


CALIBRATED = [("gptq", {"bits": 4}), ("awq", {"bits": 4})]
PRUNING = [("wanda", {"share": 0.3}), ("sparsegpt", {"share": 0.3})]


@pytest.mark.parametrize(("name", "settings"), [("rtn", {"bits": 4}), *CALIBRATED])
def test_a_group_that_does_not_divide_is_told_with_its_layer_and_what_fits(saved, name, settings):
    """Inputs of 64 and 96: 32 divides both, 64 only the first."""
    message = (
        r"group_size 64 does not divide the input width 96 of layer model\.layers\.0\.mlp\.down_proj\. .* 16, 32, or"
    )
    with pytest.raises(ConfigError, match=message):
        run(name, saved(llama(64, 96)), settings | {"group_size": 64})


@pytest.mark.parametrize(("name", "settings"), [("rtn", {"bits": 4, "group_size": "row"}), *CALIBRATED, *PRUNING])
def test_matrices_outside_linear_layers_are_named_and_not_left_out(saved, name, settings):
    with pytest.raises(RelapseError, match=r"GPT2LMHeadModel keeps .* transformer\.h\.0\.attn\.c_attn.*bitsandbytes"):
        run(name, saved(gpt2()), settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("rtn", {"bits": 4, "group_size": "row"}), ("bitsandbytes", {"format": "nf4"}), *CALIBRATED, *PRUNING],
)
def test_fused_experts_are_named_and_not_left_out(saved, name, settings):
    message = r"MixtralForCausalLM keeps .* model\.layers\.0\.mlp\.experts\.gate_up_proj.*whose experts are linear"
    with pytest.raises(RelapseError, match=message):
        run(name, saved(mixtral()), settings)


@pytest.mark.parametrize("model", [opt, big_code])
def test_awq_says_where_it_knows_no_layer_that_takes_its_scales(saved, model):
    """OPT names its norms otherwise; of GPTBigCode it knows no layer at all, and would round to nearest."""
    with pytest.raises(RelapseError, match=r"AWQ knows no layer before .*\.0\..*attn.* of .*use backend: gptq or rtn"):
        run("awq", saved(model()), {"bits": 4, "group_size": 64})


@pytest.mark.parametrize(
    ("width", "inner", "expected"),
    [
        (36, 64, r"self_attn\.q_proj has 36 output rows, .* fp4 kernel for this CPU needs a multiple of 32"),
        (64, 96, r"mlp\.down_proj has 96 inputs, .* needs a multiple of 64: use format: int8, backend: rtn, or a GPU"),
    ],
)
@pytest.mark.skipif(
    torch.cuda.is_available() or not has_avx512bf16(), reason="other kernels, which take layers of any size"
)
def test_layers_that_bitsandbytes_cpu_kernel_cannot_take_are_named(saved, width, inner, expected):
    folder = saved(llama(width, inner))
    with pytest.raises(ConfigError, match=expected):
        run("bitsandbytes", folder, {"format": "fp4"})
    run("bitsandbytes", folder, {"format": "int8"})


def test_widths_that_do_not_fill_a_packed_integer_are_padded(saved):
    """Rows of 36 and 50 codes in int32s of eight: what is read back has every weight, near the original."""
    model, backend = llama(36, 50), BACKENDS.get("gptq")
    folder = saved(model)
    settings = {"bits": 4, "group_size": 2, "symmetric": False}
    run("gptq", folder, settings)
    effective = backend.effective(folder.parent / "out")
    assert len(effective) == 7
    for name, weight in effective.items():
        original = model.get_parameter(name)
        assert (weight - original).norm() < 0.1 * original.norm(), name


@pytest.mark.parametrize("form", ["fp4", "nf4"])
def test_gpt2_whose_weights_lie_transposed_is_rounded_as_bitsandbytes_does(saved, form):
    """Absorption reads (out, in) weights from disk, where GPT-2's are (in, out): blocks of 64 lie along the inputs."""
    folder, backend = saved(gpt2()), BACKENDS.get("bitsandbytes")
    settings = quantizer_settings("bitsandbytes", format=form)
    loaded, known = backend.load(folder, settings), read_model(folder)
    assert known.linear["transformer.h.0.attn.c_attn"] == (192, 64)
    weights = StoredWeights(folder, [f"{layer}.weight" for layer in known.linear])
    for layer in known.linear:
        packed = loaded.get_submodule(layer).weight
        computed = dequantize_4bit(packed.data, packed.quant_state).float()
        assert torch.equal(backend.rounded(weights[f"{layer}.weight"], settings), computed), layer


def test_a_share_below_one_weight_of_a_row_is_told(saved):
    """Rows of 64 and 96: a hundredth of 64 is less than one weight."""
    with pytest.raises(
        ConfigError, match=r"share 0\.01 is less than one of the 64 weights .*q_proj: use at least 0\.016"
    ):
        run("wanda", saved(llama(64, 96)), {"share": 0.01})


def test_sparsegpt_does_not_go_on_without_the_hessian(saved):
    """Three tokens span at most three of the 64 directions that the first layers see."""
    with pytest.raises(RelapseError, match=r"cannot invert the Hessian of .*_proj: raise dampening above 1e-12"):
        run("sparsegpt", saved(llama(64, 96)), {"share": 0.3, "dampening": 1e-12}, [[2, 3, 4] * 10] * 8)


def test_multiples_by_hand():
    check_multiples({"up": (64, 36)}, 32, 4, "it", "use another")
    for shape, expected in (
        ((33, 36), "33 output rows, and it needs a multiple of 32"),
        ((64, 38), "38 inputs, .* of 4"),
    ):
        with pytest.raises(ConfigError, match=f"layer up has {expected}: use another"):
            check_multiples({"up": shape}, 32, 4, "it", "use another")


def test_of_the_sizes_that_fit_only_known_ones_are_named():
    shapes = {"up": (384, 256), "down": (256, 384)}
    with pytest.raises(ConfigError, match=r"every layer: 32, 64, 128\.$"):
        check_group_size(shapes, 256, known=(32, 64, 128, 256))
    with pytest.raises(ConfigError, match="every layer: none; use backend: gptq or awq"):
        check_group_size({"up": (40, 40)}, 32, known=(16, 32))
