"""Quantizer backends behind one contract: a model directory in, a quantized model or a directory out.

Knows the contract, and which weights every backend touches: the weights of the linear layers inside the
transformer blocks. Embeddings, norms, biases and the output head keep their values, as in bitsandbytes and
llm-compressor. Knows nothing of how any backend quantizes; that is one file per backend in this package.

The configuration is checked against this package, so no module here imports transformers at its top level.
"""

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch

from relapse.errors import RelapseError
from relapse.registry import Registry

BACKENDS = Registry("quantizer backend", "relapse.quantization")

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


class Backend(ABC):
    """What a quantizer backend gives.

    `name` is what `backend:` says in the config, `options` the JSON-Schema properties of its own keys (a key
    without "default" is required), `examples` some small settings that between them cover the options: the
    contract tests run on them. `settings` below is a config entry; keys left out take the options' defaults.
    """

    name: str
    options: dict[str, dict[str, Any]]
    examples: tuple[dict[str, Any], ...]

    def check(self, shapes: dict[str, tuple[int, int]], settings: dict[str, Any]) -> None:  # noqa: B027
        """Raise ConfigError where `settings` cannot be had for linear layers of these (out, in) shapes; most can."""

    @abstractmethod
    def load(self, model_dir: str | Path, settings: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
        """The quantized model in eval mode, computing in `dtype`, on the GPU where there is one."""

    def save(self, model_dir: str | Path, settings: dict[str, Any], out_dir: str | Path) -> None:
        """Write the quantized model with its tokenizer, computing in float32.

        `AutoModelForCausalLM.from_pretrained(out_dir, dtype=torch.float32)` then gives the logits of
        `load(model_dir, settings)`.
        """
        model = self.load(model_dir, settings)
        model.save_pretrained(out_dir)
        copy_tokenizer(model_dir, out_dir)


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


def copy_tokenizer(model_dir: str | Path, out_dir: str | Path) -> None:
    """Copy the tokenizer's files, as many as there are, from one model directory to another."""
    for name in TOKENIZER_FILES:
        if (Path(model_dir) / name).is_file():
            shutil.copyfile(Path(model_dir) / name, Path(out_dir) / name)
