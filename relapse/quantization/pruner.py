"""Pruning that looks at text, through llm-compressor: what Wanda and SparseGPT have in common.

A checkpoint is a model like any other, in float32, with zeros in its matrices; its config.json records the pruning.
Nothing is retrained. Pruning by weights alone is prune.py's.
"""

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field

from relapse.models.files import read_model
from relapse.models.loading import load_model
from relapse.models.weights import StoredWeights
from relapse.quantization import Calibrated, layer_shapes
from relapse.quantization.calibration import CalibratedSettings
from relapse.quantization.compressor import run_oneshot, save

CONFIG = "config.json"


class PrunerSettings(CalibratedSettings):
    """A pruner that looks at text."""

    share: float = Field(gt=0, lt=1, description="Share of a matrix's weights that become zero.")


class Pruner(Calibrated):
    """A backend that runs one of llm-compressor's pruning modifiers on every linear layer except the output head."""

    libraries: ClassVar = ("llmcompressor",)
    mark: ClassVar = "pruned"

    @abstractmethod
    def modifier(self, settings: Any, layers: list[str]) -> Any:
        """llm-compressor's modifier of these layers."""

    def quantize(
        self, model_dir: str | Path, settings: Any, windows: Sequence[Sequence[int]], out_dir: str | Path
    ) -> None:
        model = load_model(model_dir)
        shapes = layer_shapes(model)
        self.check(shapes, settings)
        run_oneshot(model, [self.modifier(settings, list(shapes))], windows, f"{self.name} of {model_dir}")
        save(model, model_dir, out_dir)
        config = Path(out_dir) / CONFIG
        written = json.loads(config.read_text(encoding="utf-8")) | {self.mark: settings.rounding()}
        config.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")

    def load(self, model_dir: str | Path, settings: Any, dtype: torch.dtype = torch.float32) -> Any:
        self._must_be_quantized(model_dir)
        return load_model(model_dir, dtype=dtype)

    def dequantized(self, checkpoint: str | Path) -> dict[str, torch.Tensor]:
        self._must_be_quantized(checkpoint)
        stored = StoredWeights(checkpoint)
        return {f"{layer}.weight": stored[f"{layer}.weight"] for layer in read_model(Path(checkpoint)).linear}
