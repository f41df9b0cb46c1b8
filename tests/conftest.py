"""Fixtures that more than one suite uses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from copies import Workflow, new_workflow

# Read when torch is imported. Test files run side by side, one on a core, and models this small gain nothing by more.
os.environ["OMP_NUM_THREADS"] = "1"

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


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> Path:
    """Directory of the tiny Llama. Session-wide: read it, never write into it."""
    return build_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tied_llama(tmp_path_factory) -> Path:
    """The wide Llama whose output head is its embedding matrix."""
    return build_tiny_llama(tmp_path_factory.mktemp("models") / "tied", True, hidden_size=256, intermediate_size=512)


@pytest.fixture(scope="session")
def wide_llama(tmp_path_factory) -> Path:
    """The tiny Llama with widths that are multiples of 256, which GGUF's k-quants need."""
    return build_tiny_llama(tmp_path_factory.mktemp("models") / "wide", hidden_size=256, intermediate_size=512)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """The miniature study, run for real once, on two cores of this machine."""
    workflow = new_workflow(tmp_path_factory.mktemp("mini"))
    done = workflow.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    return workflow


@pytest.fixture
def small_disk(tmp_path) -> tuple[Path, list[str]]:
    """A folder that is a disk of 4 MB for a command that is started with these words before it, and for nobody else."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=4m tmpfs {disk}"
    isolated = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*isolated, mount], capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    return disk, [*isolated, f'{mount} && exec "$@"', "sh"]
