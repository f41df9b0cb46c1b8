"""`scale: llmcompressor` gives the codes and steps of the real llm-compressor, bit for bit in float32."""

import pytest
import torch

from relapse.quantization.rtn import dequantize, quantize

CASES = [(8, "row"), (4, 64), (4, 128), (4, "row"), (3, 32), (2, 64)]


def awkward_model(directory):
    """The tiny Llama in float32 with what is easily got wrong: an all-zero group and row, and exact ties.

    A group whose max|w| is (2^N - 1) / 2 has the step 1, so that k + 1/2 lies exactly between two codes.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        weight = model.get_submodule("model.layers.0.self_attn.q_proj").weight  # (128, 128)
        weight[0, :64] = 0.0
        weight[1] = 0.0
        for row, bits in enumerate((8, 4, 3, 2), start=2):
            top = (2**bits - 1) / 2
            ties = torch.arange(-top, top + 1)
            weight[row] = ties.repeat(128)[:128]
            weight[row, ::32] = top  # the largest weight of every group
        weight[6] = -weight[5]
        weight[7, 1:] = 1e-39  # subnormal steps
        weight[8] = torch.finfo(torch.float32).max * torch.linspace(-1, 1, 128)
    return model


@pytest.mark.parametrize(("bits", "group_size"), CASES)
def test_codes_and_steps_equal_llmcompressors(tiny_llama, tmp_path, monkeypatch, bits, group_size):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize
    from compressed_tensors.quantization.lifecycle.forward import quantize as reference_quantize
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    monkeypatch.chdir(tmp_path)  # for its logs
    model = awkward_model(tiny_llama)
    original = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    grouping = {"strategy": "channel"} if group_size == "row" else {"strategy": "group", "group_size": group_size}
    arguments = QuantizationArgs(num_bits=bits, symmetric=True, **grouping)
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
    oneshot(model=model, recipe=[QuantizationModifier(config_groups={"all": scheme}, ignore=["lm_head"])])

    layers = {name: module for name, module in model.named_modules() if hasattr(module, "weight_scale")}
    assert len(layers) == 14
    for name, layer in layers.items():
        weight = original[f"{name}.weight"]
        codes, steps = quantize(weight, bits, group_size)
        scales, zeros = layer.weight_scale.data, layer.weight_zero_point.data
        assert scales.dtype == steps.dtype == torch.float32
        assert torch.equal(steps, scales), name
        assert torch.equal(codes, reference_quantize(weight, scales, zeros, arguments, dtype=torch.int8)), name
        assert torch.equal(dequantize(codes, steps), fake_quantize(weight, scales, zeros, arguments)), name


def test_the_checkpoint_that_llmcompressor_writes_holds_the_same_codes(tiny_llama, tmp_path, monkeypatch):
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from safetensors.torch import load_file

    monkeypatch.chdir(tmp_path)
    model = awkward_model(tiny_llama)
    original = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    oneshot(model=model, recipe=[QuantizationModifier(scheme="W4A16", targets="Linear", ignore=["lm_head"])])
    model.save_pretrained(tmp_path / "out", save_compressed=True)
    written = load_file(tmp_path / "out" / "model.safetensors")

    packed = [name for name in written if name.endswith("weight_packed")]
    assert len(packed) == 14
    for name in packed:
        weight = original[name.removesuffix("_packed")]
        codes, steps = quantize(weight, 4, 128)
        assert torch.equal(steps, written[name.replace("weight_packed", "weight_scale")])
        assert torch.equal(codes, unpack_from_int32(written[name], 4, weight.shape))
