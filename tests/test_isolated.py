"""AutoAWQ's and AutoGPTQ's packed checkpoints by hand, and what can be checked without their environments."""

import json

import pytest
import torch
from entries import quantizer_settings
from safetensors.torch import save_file

from relapse.quantization import BACKENDS, packed
from relapse.quantization.autogptq import finish, quantize_config
from relapse.quantization.legacy import older, readable
from relapse.runtime.errors import ConfigError, RelapseError


def pack(codes: list[int], bits: int, places: tuple[int, ...] | None = None) -> int:
    """An int32 with code k at place places[k]."""
    places = places or tuple(range(len(codes)))
    number = sum(code << (bits * place) for code, place in zip(codes, places, strict=True))
    return number - (1 << 32) if number >= 1 << 31 else number


def test_awqs_codes_lie_in_its_own_order():
    """AutoAWQ puts columns 0, 2, 4, 6, 1, 3, 5, 7 at places 0 to 7 of an int32."""
    codes = [1, 2, 3, 4, 5, 6, 7, 15]
    packed_row = pack([codes[column] for column in (0, 2, 4, 6, 1, 3, 5, 7)], 4)
    assert packed.unpack(torch.tensor([[packed_row]], dtype=torch.int32), 4, 1, packed.AWQ_ORDER).tolist() == [codes]


def test_an_awq_weight_by_hand():
    """Two inputs in groups of one, eight outputs: (code - zero) * scale, transposed to (out, in)."""
    codes, zeros = [[8, 9, 7, 0, 15, 8, 8, 8], [8] * 7 + [10]], [[8] * 8, [8] * 8]
    qweight, qzeros = (
        torch.tensor([[pack(row, 4, packed.AWQ_ORDER)] for row in rows], dtype=torch.int32) for rows in (codes, zeros)
    )
    scales = torch.tensor([[0.5] * 8, [0.25] * 8]).half()
    weight = packed.awq_weight(qweight, qzeros, scales)
    assert weight.shape == (8, 2)
    assert weight[:, 0].tolist() == [0, 0.5, -0.5, -4, 3.5, 0, 0, 0] and weight[7, 1] == 0.5


def test_a_gptq_weight_by_hand():
    """Eight inputs, two outputs, two groups that alternate; zeros are stored less one."""
    codes = torch.tensor([[8, 9], [8, 7], [10, 8], [8, 8], [0, 15], [8, 8], [8, 8], [8, 9]])  # (in, out)
    qweight = torch.tensor([[pack(codes[:, column].tolist(), 4) for column in (0, 1)]], dtype=torch.int32)
    # Two outputs fill a quarter of an int32; the rest of it belongs to outputs that there are not.
    qzeros = torch.tensor([[pack([7, 7] + [0] * 6, 4)]] * 2, dtype=torch.int32)
    scales = torch.tensor([[0.5, 0.5], [0.25, 0.25]]).half()
    zeros = packed.unpack(qzeros, 4, 1)[:, :2]
    assert zeros.tolist() == [[7, 7], [7, 7]]
    g_idx = torch.tensor([0, 1] * 4, dtype=torch.int32)
    full = torch.zeros(2, 8, dtype=torch.float16)
    full[:, :2] = scales
    wide = torch.cat([qweight, torch.zeros(1, 6, dtype=torch.int32)], dim=1)
    weight = packed.gptq_weight(wide, qzeros, full, g_idx, 4)[:2]
    expected = (codes - 8) * torch.tensor([0.5, 0.25] * 4).unsqueeze(1)
    assert torch.equal(weight, expected.T)


def test_a_gptq_zero_of_nought_is_stored_as_all_ones():
    codes = torch.tensor([[pack([0, 1, 2, 3, 4, 5, 6, 7], 4)] * 8], dtype=torch.int32)
    qzeros = torch.tensor([[pack([15] * 8, 4)]], dtype=torch.int32)
    weight = packed.gptq_weight(codes, qzeros, torch.ones(1, 8), torch.zeros(8, dtype=torch.int32), 4)
    assert weight.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]] * 8


def test_a_checkpoint_without_packed_weights_is_refused(tmp_path):
    save_file({"a.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(RelapseError, match="holds no packed weights"):
        packed.dequantized(tmp_path, 4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_autogptq_without_a_gpu_names_the_maintained_way(tiny_llama, tmp_path):
    with pytest.raises(RelapseError, match=r"CUDA GPU only.*use gptq-int4"):
        BACKENDS.get("autogptq").quantize(
            tiny_llama, quantizer_settings("autogptq", group_size=64), [[2, 3, 4]], tmp_path
        )


def test_what_autogptq_saves_gets_the_names_that_others_look_for(tmp_path):
    settings = quantizer_settings("autogptq", group_size=64, act_order="weight")
    (tmp_path / "gptq_model-4bit-64g.safetensors").write_bytes(b"weights")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    finish(tmp_path, model, settings)
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["quantization_config"] == {"quant_method": "gptq", "checkpoint_format": "gptq"} | quantize_config(
        settings
    )
    assert config["quantization_config"]["desc_act"] is True and config["model_type"] == "llama"


def test_rotary_positions_are_spelled_as_the_older_transformers_reads_them(tmp_path):
    llama3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 128}
    rope = {"rope_theta": 5e5, "partial_rotary_factor": 0.5}
    plain = {"model_type": "llama"}
    assert older(plain) == plain
    default = plain | {"rope_parameters": rope | {"rope_type": "default"}}
    assert older(default) == default | rope
    scaled = plain | {"rope_parameters": {"rope_theta": 5e5} | llama3}
    assert older(scaled) == scaled | {"rope_theta": 5e5, "rope_scaling": llama3}
    with pytest.raises(RelapseError, match=r"differ between layers.*use backend: gptq or awq"):
        older(plain | {"rope_parameters": {"full_attention": {"rope_theta": 1e6}}})


def test_a_model_that_the_older_transformers_can_read_is_the_same_but_for_its_config(tmp_path):
    (tmp_path / "config.json").write_text('{"rope_parameters": {"rope_theta": 7.0, "rope_type": "default"}}')
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with readable(tmp_path) as folder:
        assert json.loads((folder / "config.json").read_text())["rope_theta"] == 7
        assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert not folder.exists()
    assert "rope_theta" not in json.loads((tmp_path / "config.json").read_text())


def test_layers_that_autoawq_cannot_clip_and_autogptq_cannot_pack_are_named():
    with pytest.raises(
        ConfigError, match=r"layer up has 96 output rows, and AutoAWQ needs a multiple of 64: use backend: awq"
    ):
        BACKENDS.get("autoawq").check({"up": (96, 128)}, quantizer_settings("autoawq", group_size=64))
    with pytest.raises(
        ConfigError, match="layer down has 48 inputs, and AutoGPTQ needs a multiple of 32: use backend: gptq"
    ):
        BACKENDS.get("autogptq").check(
            {"up": (64, 64), "down": (64, 48)}, quantizer_settings("autogptq", group_size=16)
        )
