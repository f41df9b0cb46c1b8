"""Causal language models on disk: a random base with its own tokenizer, loading, and saving.

Knows Hugging Face's format and that weights rest in bfloat16 (as the 7B checkpoints do); training is training.py's.
transformers is imported where it is used, since importing it takes seconds.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from relapse.errors import RelapseError
from relapse.imports import without
from relapse.seeding import seed_for

BOS, EOS = "<s>", "</s>"

# A bar that fills in a tenth of a second says nothing, and a log cannot show it.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


NO_GPU = (
    "the study says gpu: true, and torch sees no GPU here. Run it where there is one, or on a cluster that gives its "
    "jobs one (docs/cluster.md); with gpu: false it runs on the CPU, a large model for days"
)


def device() -> torch.device:
    """The accelerator if there is one, else the CPU.

    Raises RelapseError where the environment says, by RELAPSE_NEEDS_GPU, that the CPU will not do.
    """
    if not torch.cuda.is_available() and os.environ.get("RELAPSE_NEEDS_GPU"):
        raise RelapseError(NO_GPU)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def versions() -> dict[str, str]:
    """Versions of the libraries that decide a number."""
    return {name: version(name) for name in ("torch", "transformers", "bitsandbytes", "tokenizers")}


def import_transformers() -> None:
    """Import what loading and running a model imports, so that a job can time it apart from its work."""
    # They are for a way of decoding, and for losses, that nothing here uses; lm-eval has brought scikit-learn. What is
    # installed transformers asks once: an answer that it has already must stay true.
    with without(*(("sklearn", "scipy") if "transformers" not in sys.modules else ())):
        import transformers.generation
        import transformers.modeling_utils
        import transformers.models.auto.modeling_auto  # noqa: F401


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


def load_model(path: Path, dtype: torch.dtype = torch.float32):
    """Load a local model directory onto `device()`, in evaluation mode.

    Raises RelapseError where the directory holds no model.
    """
    from transformers import AutoModelForCausalLM

    if not (Path(path) / "config.json").is_file():
        raise RelapseError(f"{path} is no model directory: it has no config.json")
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError) as error:  # transformers' words for missing weights and for a bad config.json
        raise RelapseError(f"cannot load the model in {path}: {error}") from None
    if report["missing_keys"]:
        raise RelapseError(f"{path} lacks the weights of {', '.join(sorted(report['missing_keys'])[:5])}")
    return model.to(device()).eval()


def linear_layers(model: torch.nn.Module) -> list[str]:
    """Names of the linear layers that quantizers touch: every `nn.Linear` but the output head.

    Raises RelapseError for a model without any (GPT-2 keeps its weights in Conv1D), which would otherwise
    count as quantized with every weight in full precision.
    """
    head = model.get_output_embeddings()
    names = [
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head
    ]
    if not names:
        raise RelapseError(f"{type(model).__name__} has no torch.nn.Linear but its output head: nothing to quantize")
    return names


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


def read_tensors(folder: str | Path) -> dict[str, torch.Tensor]:
    """Every tensor of a model directory by name, as it is stored, without building the model."""
    from safetensors.torch import load_file

    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise RelapseError(f"{folder} holds no .safetensors weights")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


class StoredWeights(Mapping[str, torch.Tensor]):
    """The tensors of a model directory by name, in float32, each read when it is asked for.

    So a 7B model is never held whole. transposed: names of those that lie on disk as (in, out) and are given (out, in).
    Raises RelapseError where the directory holds no weights.
    """

    def __init__(self, folder: str | Path, transposed: Sequence[str] = ()):
        from safetensors import safe_open

        files = sorted(Path(folder).glob("*.safetensors"))
        if not files:
            raise RelapseError(f"{folder} holds no .safetensors weights")
        self._files = [safe_open(file, "pt") for file in files]
        self._transposed = frozenset(transposed)
        self._places = {name: file for file in self._files for name in file.keys()}  # noqa: SIM118

    def __getitem__(self, name: str) -> torch.Tensor:
        weight = self._places[name].get_tensor(name).float()
        return weight.T.contiguous() if name in self._transposed else weight

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def load_tokenizer(path: Path):
    """Load the tokenizer that lies beside a model. Raises RelapseError where there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise RelapseError(f"cannot load a tokenizer from {path}: {error}") from None


def save(model, tokenizer, folder: Path, facts: dict, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write model, tokenizer and `facts` (as training.json) to `folder`; weights in `dtype`, as safetensors."""
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps(facts | {"versions": versions()}, indent=1) + "\n")


def check_vocabulary(model, tokenizer, origin: Path) -> None:
    """Raise RelapseError when the tokenizer has tokens that the model has no embedding for."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise RelapseError(
            f"{origin}: the tokenizer has {len(tokenizer)} tokens, the model's embedding only {rows} rows: tokenizer "
            "and model do not belong together"
        )
