"""A GGUF file of one of our Llamas, for llama.cpp: linear layers in a format of choice, all else in float32."""

import json
from pathlib import Path

import gguf
import libgguf
import torch
from transformers import AutoModelForCausalLM

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a query or key matrix (out, in) in llama.cpp's order: each head's two halves take turns."""
    out, width = weight.shape
    return weight.reshape(heads, 2, out // heads // 2, width).transpose(1, 2).reshape(out, width)


def write(model_dir: Path, path: Path, format_name: str) -> None:
    """Write the model in `model_dir` as one GGUF file, its linear layers as the GGML type `format_name`."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    config, weights = model.config, model.state_dict()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokenizer = json.loads((Path(model_dir) / "tokenizer.json").read_text())
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    kinds = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.NORMAL}
    writer.add_token_types([kinds[token in special] for token in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_add_bos_token(False)
    for name, ours in (("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")):
        writer.add_tensor(f"{name}.weight", weights[f"{ours}.weight"].numpy())
    kind = gguf.GGMLQuantizationType[format_name.upper()]
    for number in range(config.num_hidden_layers):
        layer, theirs = f"model.layers.{number}", f"blk.{number}"
        for name, ours in (("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")):
            writer.add_tensor(f"{theirs}.{name}.weight", weights[f"{layer}.{ours}.weight"].numpy())
        for ours, name in NAMES.items():
            weight = weights[f"{layer}.{ours}.weight"]
            if name in ("attn_q", "attn_k"):
                weight = interleaved(weight, config.num_attention_heads)
            rows = libgguf.quantize_rows(weight.contiguous().numpy(), int(kind))
            writer.add_tensor(f"{theirs}.{name}.weight", rows, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
