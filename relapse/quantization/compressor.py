"""llm-compressor: its schemes, its one-shot run on token windows, and its checkpoints.

What the backends that run inside llm-compressor have in common; the algorithms are its own. Knows how to hand it
windows so that the same input gives the same bytes, and where it may not go on in silence.
"""

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from relapse.models.loading import linear_layers, load_model
from relapse.quantization import Calibrated, check_group_size, copy_tokenizer, layer_shapes
from relapse.quantization.calibration import CalibratedSettings
from relapse.quantization.folding import Folding
from relapse.runtime.errors import RelapseError
from relapse.runtime.settings import Count


class CompressorSettings(CalibratedSettings):
    """A quantizer of llm-compressor's."""

    bits: Literal[4, 8] = Field(description="Bits of a weight's code; what its checkpoints can hold.")
    group_size: Count | Literal["row"] = Field(
        128, description="Weights that share a step: a divisor of every layer's input width, or row."
    )
    symmetric: bool


class LLMCompressor(Calibrated):
    """A backend of llm-compressor's: a recipe of its modifiers, calibrated layer by layer."""

    libraries: ClassVar = ("llmcompressor", "compressed-tensors")

    def check(self, shapes: dict[str, tuple[int, int]], settings: CompressorSettings) -> None:
        check_group_size(shapes, settings.group_size)

    @abstractmethod
    def recipe(self, settings: Any, scheme: Any, ignore: list[str], folding: Folding) -> list:
        """llm-compressor's modifiers. scheme: bits, groups and symmetry; ignore: layers that keep their weights.

        A modifier that scales channels records them in `folding`.
        """

    def quantize(
        self, model_dir: str | Path, settings: CompressorSettings, windows: Sequence[Sequence[int]], out_dir: str | Path
    ) -> None:
        from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

        model = load_model(model_dir)
        self.check(layer_shapes(model), settings)
        size = settings.group_size
        grouping = {"strategy": "channel"} if size == "row" else {"strategy": "group", "group_size": size}
        arguments = QuantizationArgs(num_bits=settings.bits, symmetric=settings.symmetric, **grouping)
        scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
        heads = [name for name, module in model.named_modules() if module is model.get_output_embeddings()]
        folding = Folding()
        run_oneshot(model, self.recipe(settings, scheme, heads, folding), windows, f"{self.name} of {model_dir}")
        save(model, model_dir, out_dir)
        folding.write(out_dir)

    def dequantized(self, checkpoint: str | Path) -> dict[str, torch.Tensor]:
        from transformers import AutoModelForCausalLM, CompressedTensorsConfig

        self._must_be_quantized(checkpoint)
        model = AutoModelForCausalLM.from_pretrained(
            checkpoint,
            dtype=torch.float32,
            local_files_only=True,
            quantization_config=CompressedTensorsConfig(dequantize=True),
        )
        return {f"{name}.weight": model.get_submodule(name).weight.detach() for name in linear_layers(model)}


def save(model, model_dir: str | Path, out_dir: str | Path) -> None:
    """Write what `run_oneshot` has made of the model in `model_dir`, with its tokenizer."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Attempting to save a model with offloaded modules")
        model.save_pretrained(out_dir, save_compressed=True)
    copy_tokenizer(model_dir, out_dir)


def run_oneshot(model, recipe: list, windows: Sequence[Sequence[int]], what: str) -> None:
    """Quantize `model` in place with llm-compressor's `recipe`, one window at a time in the order given.

    `what` names the run in an error. Raises RelapseError in llm-compressor's words where it gives up.
    """
    from datasets import Dataset
    from llmcompressor import oneshot

    data = Dataset.from_dict(
        {"input_ids": [list(window) for window in windows], "attention_mask": [[1] * len(window) for window in windows]}
    )
    try:
        oneshot(
            model=model,
            recipe=recipe,
            dataset=data,
            num_calibration_samples=len(windows),
            max_seq_length=max(map(len, windows)),
            batch_size=1,
            shuffle_calibration_samples=False,  # its shuffle has no seed
        )
    except (ValueError, RuntimeError) as error:
        raise RelapseError(f"{what}: llm-compressor failed: {error}") from error
