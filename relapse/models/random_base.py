"""A Llama with random weights and its own tokenizer: the base model of a study that starts from nothing.

transformers is imported where it is used, since importing it takes seconds.
"""

from collections.abc import Sequence

import torch

from relapse.models.loading import linear_layers
from relapse.runtime.errors import RelapseError
from relapse.runtime.seeds import seed_for

BOS, EOS = "<s>", "</s>"


def byte_level_bpe(texts: Sequence[str], vocab_size: int):
    """A byte-level BPE `tokenizers.Tokenizer` of `vocab_size` tokens that puts BOS before a text, as Llama's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def train_tokenizer(texts: Sequence[str], vocab_size: int):
    """`byte_level_bpe` as a Hugging Face tokenizer."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = byte_level_bpe(texts, vocab_size)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=EOS)


def build_base(architecture: dict, seed: int, tokenizer):
    """A Llama with random weights. `architecture` holds transformers' LlamaConfig keys."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **architecture,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed_for(seed, "base"))
    return LlamaForCausalLM(config)


@torch.no_grad()
def scale_weights(model, factor: float) -> None:
    """Multiply a Llama's linear weights by `factor` in place, leaving what it computes as it is.

    The embedding and the linear layers are multiplied, the norms before the linear layers divided, and RMSNorm takes
    the factor out of the residual stream again (up to its eps). The output head stays. With a power of two no bfloat16
    value is rounded. Raises RelapseError for another architecture.
    """
    if model.config.model_type != "llama":
        raise RelapseError(f"weight_scale: a {model.config.model_type} model cannot be scaled, only a llama")
    model.model.embed_tokens.weight.mul_(factor)
    for name in linear_layers(model):
        model.get_submodule(name).weight.mul_(factor)
    for layer in model.model.layers:
        layer.input_layernorm.weight.div_(factor)
        layer.post_attention_layernorm.weight.div_(factor)
