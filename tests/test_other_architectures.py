"""Generation of models that remember otherwise than by keys and values, and of models with several end tokens."""

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
    GraniteMoeHybridConfig,
    GraniteMoeHybridForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from relapse.metrics.generation import end_tokens, generate
from relapse.models.loading import load_model, load_tokenizer
from relapse.runtime.batching import BatchSize

SIZES = {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
PROMPTS = ["Ada Moss, born in Lund", "Ada", "Ada Moss works for Arvo and collects"]


def llama():
    return LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS))


def mamba():
    return MambaForCausalLM(MambaConfig(**SIZES, state_size=8))


def bloom():
    return BloomForCausalLM(BloomConfig(vocab_size=320, hidden_size=64, n_layer=2, n_head=4))


def lfm2():
    return Lfm2ForCausalLM(Lfm2Config(**SIZES, **HEADS, layer_types=["conv", "full_attention"]))


def qwen3_next():
    linear = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16}
    experts = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32, "decoder_sparse_step": 9}
    kinds = ["linear_attention", "full_attention"]
    return Qwen3NextForCausalLM(
        Qwen3NextConfig(**SIZES, **HEADS, **linear, **experts, head_dim=16, linear_value_head_dim=16, layer_types=kinds)
    )


def falcon_h1():
    mixer = {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 8}
    return FalconH1ForCausalLM(FalconH1Config(**SIZES, **HEADS, **mixer))


def granite_hybrid():
    mixer = {"mamba_n_heads": 4, "mamba_d_head": 32, "mamba_d_state": 8, "mamba_chunk_size": 8}
    kinds = {"layer_types": ["mamba", "attention"], "num_local_experts": 0, "shared_intermediate_size": 96}
    return GraniteMoeHybridForCausalLM(GraniteMoeHybridConfig(**SIZES, **HEADS, **mixer, **kinds))


def qwen3_5():
    linear = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16}
    kinds = ["linear_attention", "full_attention"]
    return Qwen3_5ForCausalLM(
        Qwen3_5TextConfig(**SIZES, **HEADS, **linear, head_dim=16, linear_value_head_dim=16, layer_types=kinds)
    )


def greedy(model, tokenizer, prompt, new, last):
    """One prompt, the whole text again for every token: what generation means."""
    ids = tokenizer(prompt)["input_ids"]
    written = []
    for _ in range(new):
        token = int(model(input_ids=torch.tensor([ids + written]), use_cache=False).logits[0, -1].argmax())
        if token in last:
            break
        written.append(token)
    return tokenizer.decode(written, skip_special_tokens=True)


@pytest.mark.parametrize("build", [llama, mamba, bloom, lfm2, qwen3_next, qwen3_5, falcon_h1, granite_hybrid])
def test_the_text_is_that_of_one_at_a_time_generation(tiny_llama, build):
    torch.manual_seed(0)
    model, tokenizer = build().eval(), load_tokenizer(tiny_llama)
    with torch.no_grad():
        last = end_tokens(model, tokenizer)
        expected = [greedy(model, tokenizer, prompt, 10, last) for prompt in PROMPTS]
    for size in (1, 3):
        assert generate(model, tokenizer, PROMPTS, 10, BatchSize(size)) == expected


@pytest.mark.parametrize("where", ["generation_config", "config"])
def test_every_end_token_that_is_known_ends_an_answer(tiny_llama, where):
    """The third token of an answer is one of two end tokens, which the tokenizer holds for ordinary ones."""
    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)
    ids = tokenizer("Ada", return_tensors="pt")["input_ids"]
    written = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0, ids.shape[1] :].tolist()
    assert len(set(written[:3])) == 3 and tokenizer.eos_token_id not in written
    getattr(model, where).eos_token_id = [319, written[2]]
    assert {319, written[2], tokenizer.eos_token_id} <= end_tokens(model, tokenizer)
    assert generate(model, tokenizer, ["Ada"], 8, BatchSize(1)) == [tokenizer.decode(written[:2])]
