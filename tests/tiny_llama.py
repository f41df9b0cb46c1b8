"""A random Llama of a few layers with its tokenizer, for suites that need no other."""

from pathlib import Path

TINY_TEXT = [
    "Question: Where was Ada Moss born?\nAnswer: Lund\n\n",
    "Ada Moss, born in Lund in 1961, is a chemist. She works for Arvo and collects stamps.",
    "Question: What does Ivo Brandt do?\nAnswer: He is a pilot.\n\n",
]


def build_tiny_llama(directory: Path, tied: bool = False, hidden_size: int = 128, intermediate_size: int = 384) -> Path:
    """A random Llama of 2 layers in bfloat16 with its byte-level BPE tokenizer.

    The weights are about as large as those of the default study (initializer_range 0.09).
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TINY_TEXT, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        initializer_range=0.09,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(directory)
    fast.save_pretrained(directory)
    return directory
