"""Quantizer backends behind one contract: a model directory in, a quantized model or a directory out.

Knows the contract, and which weights every backend touches: the weights of the linear layers inside the
transformer blocks. Embeddings, norms, biases and the output head keep their values, as in bitsandbytes and
llm-compressor. Knows nothing of how any backend quantizes; that is one file per backend in this package.

The configuration is checked against this package, so no module here imports transformers at its top level.
"""

import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

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


@dataclass(frozen=True)
class Grid:
    """The values that a weight matrix may take: levels times scale.

    levels: (L,) ascending, the same for every weight; scale: (out, in), the group's or block's unit at each weight.
    """

    levels: torch.Tensor
    scale: torch.Tensor

    def code(self, weight: torch.Tensor) -> torch.Tensor:
        """Index of the nearest level, (out, in); the scale stays, whatever the weights' maximum is."""
        return torch.bucketize(weight / self.scale, (self.levels[1:] + self.levels[:-1]) / 2)  # L - 1 boundaries

    def round(self, weight: torch.Tensor) -> torch.Tensor:
        """The nearest values on this grid, (out, in)."""
        return self.levels[self.code(weight)] * self.scale

    def local_step(self, weight: torch.Tensor) -> torch.Tensor:
        """Distance between the two levels around each weight, (out, in); the outermost one beyond the ends."""
        upper = torch.searchsorted(self.levels, weight / self.scale).clamp(1, len(self.levels) - 1)
        return (self.levels[upper] - self.levels[upper - 1]) * self.scale


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

    @abstractmethod
    def rounded(self, weight: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
        """Q(w): what `load` makes of one weight matrix (out, in) of a linear layer, de-quantized to float32."""

    def grid(self, weight: torch.Tensor, settings: dict[str, Any]) -> Grid | None:
        """The grid that `rounded` rounds this matrix to; None where it does not round to the nearest level."""
        return None

    def save(self, model_dir: str | Path, settings: dict[str, Any], out_dir: str | Path) -> None:
        """Write the quantized model with its tokenizer, computing in float32.

        `AutoModelForCausalLM.from_pretrained(out_dir, dtype=torch.float32)` then gives the logits of
        `load(model_dir, settings)`.
        """
        model = self.load(model_dir, settings)
        model.save_pretrained(out_dir)
        copy_tokenizer(model_dir, out_dir)


def copy_tokenizer(model_dir: str | Path, out_dir: str | Path) -> None:
    """Copy the tokenizer's files, as many as there are, from one model directory to another."""
    for name in TOKENIZER_FILES:
        if (Path(model_dir) / name).is_file():
            shutil.copyfile(Path(model_dir) / name, Path(out_dir) / name)
