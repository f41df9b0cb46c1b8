"""Quantizer backends behind one contract: a model directory in, a quantized model or a directory out.

This file defines the interface of a backend, and which weights every backend rounds: those of the linear layers inside
the transformer blocks. Embeddings, biases and the output head keep their values, as in bitsandbytes and llm-compressor.
Each backend has a file of its own in this package.

There are three kinds. A `DataFree` backend needs only the weights, and quantizes in the process that scores. A
`Calibrated` one also reads text, takes longer, and writes a checkpoint that is scored afterwards. A `Compared` one also
reads the target's weights, to split the effect of another quantizer into parts.

The configuration is checked against this package, so no module here imports transformers at its top level.
"""

import json
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch

from relapse.quantization.folding import Folding
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.errors import ConfigError, RelapseError
from relapse.runtime.registry import Registry

BACKENDS: "Registry[Backend]" = Registry(
    "quantizer backend", "relapse.quantization", named_by="backend", group="relapse.quantizers"
)

VERSIONS = "versions.json"
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

    levels: (L,) ascending, the same for every weight; scale: (out, in), the group's or block's unit at each weight,
    negative where the format turns the levels round.
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
        return (self.levels[upper] - self.levels[upper - 1]) * self.scale.abs()


class Backend(ABC):
    """What every quantizer backend gives.

    `name` is the value of `backend:` in the config, `settings` the class of such an entry, `examples` the own keys of
    some small ones that between them cover all: the contract tests run on them.
    """

    name: str
    settings: type[QuantizerSettings]
    examples: tuple[dict[str, Any], ...]

    def check(self, shapes: dict[str, tuple[int, int]], settings: Any) -> None:  # noqa: B027
        """Raise ConfigError where `settings` cannot be had for linear layers of these (out, in) shapes; most can."""

    @abstractmethod
    def load(self, model_dir: str | Path, settings: Any, dtype: torch.dtype = torch.float32) -> Any:
        """The quantized model in eval mode, computing in `dtype`, on the GPU where there is one.

        model_dir: the model, or for a calibrated backend the checkpoint that it wrote.
        """


class DataFree(Backend):
    """A backend that needs only the weights. packs: a loaded model's weights are codes, which attacks cannot change."""

    packs: ClassVar[bool] = False

    @abstractmethod
    def rounded(self, weight: torch.Tensor, settings: Any) -> torch.Tensor:
        """Q(w) of one weight matrix (out, in) of a linear layer, de-quantized to float32, as in a loaded model."""

    def grid(self, weight: torch.Tensor, settings: Any) -> Grid | None:
        """The grid that `rounded` rounds this matrix to; None where it does not round to the nearest level."""
        return None

    def save(self, model_dir: str | Path, settings: Any, out_dir: str | Path) -> None:
        """Write the quantized model with its tokenizer, computing in float32.

        `AutoModelForCausalLM.from_pretrained(out_dir, dtype=torch.float32)` then gives the logits of
        `load(model_dir, settings)`.
        """
        model = self.load(model_dir, settings)
        model.save_pretrained(out_dir)
        copy_tokenizer(model_dir, out_dir)


class RoundedWeights(DataFree):
    """A backend whose model computes with the rounded weights in the computing dtype, as weight-only kernels do."""

    @torch.no_grad()
    def load(self, model_dir: str | Path, settings: Any, dtype: torch.dtype = torch.float32) -> Any:
        from relapse.models.loading import load_model

        model = load_model(model_dir, dtype=dtype)
        shapes = layer_shapes(model)
        self.check(shapes, settings)
        for name in shapes:
            weight = model.get_submodule(name).weight
            if not torch.isfinite(weight).all():
                raise RelapseError(f"{model_dir}: the weight of {name} is not finite")
            weight.copy_(self.rounded(weight, settings))
        return model


class Compared(Backend):
    """A backend that needs the weights of the model and of its target."""

    @abstractmethod
    def load(
        self,
        model_dir: str | Path,
        settings: Any,
        dtype: torch.dtype = torch.float32,
        target_dir: str | Path | None = None,
    ) -> Any:
        """As `Backend.load`. Raises ConfigError without a `target_dir`, the folder of the model before unlearning."""


class Calibrated(Backend):
    """A backend that reads calibration text and writes a checkpoint in the format that people deploy.

    environment, evaluation_environment: the locks under envs/ of the Python environments that `quantize` and scoring
    run in, by name; None is the main one. needs_gpu: `quantize` cannot run without CUDA; the text names what to use
    instead. libraries: the packages that do the work, beside torch and transformers. mark: the key that config.json has
    in a checkpoint alone.
    """

    libraries: ClassVar[tuple[str, ...]] = ()
    environment: ClassVar[str | None] = None
    evaluation_environment: ClassVar[str | None] = None
    needs_gpu: ClassVar[str | None] = None
    mark: ClassVar[str] = "quantization_config"

    @abstractmethod
    def quantize(
        self, model_dir: str | Path, settings: Any, windows: Sequence[Sequence[int]], out_dir: str | Path
    ) -> None:
        """Write the quantized model with its tokenizer, calibrated on token `windows`, one sequence at a time.

        `AutoModelForCausalLM.from_pretrained(out_dir)` loads it in `evaluation_environment`. Where the backend scales
        channels before it rounds, it leaves `Folding` beside the weights.
        """

    def write_versions(self, out_dir: str | Path) -> None:
        """Write into a checkpoint's folder which versions made it; called where `quantize` ran."""
        found = {name: version(name) for name in ("torch", "transformers", *self.libraries)}
        (Path(out_dir) / VERSIONS).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def load(self, model_dir: str | Path, settings: Any, dtype: torch.dtype = torch.float32) -> Any:
        from relapse.models.loading import load_model

        self._must_be_quantized(model_dir)
        return load_model(model_dir, dtype=dtype, packed=True)

    def effective(self, checkpoint: str | Path) -> dict[str, torch.Tensor]:
        """De-quantized, folded weights: layer + ".weight" -> (out, in) float32.

        What a linear layer of the checkpoint computes with, its scaled channels taken back to the scale of the model
        that was quantized, so that the two can be subtracted.
        """
        folding = Folding.read(checkpoint)
        return {name: folding.unfold(name, weight) for name, weight in self.dequantized(checkpoint).items()}

    @abstractmethod
    def dequantized(self, checkpoint: str | Path) -> dict[str, torch.Tensor]:
        """The weights of the linear layers as the checkpoint has them: layer + ".weight" -> (out, in) float32."""

    def _must_be_quantized(self, folder: str | Path) -> None:
        config = Path(folder) / "config.json"
        if not config.is_file():
            raise RelapseError(f"{folder} is no model directory: it has no config.json")
        if self.mark not in json.loads(config.read_text(encoding="utf-8")):
            raise RelapseError(
                f"{folder} is not quantized, and {self.name} needs calibration text. Run python -m "
                "scripts.quantize, then score the checkpoint that it writes."
            )


def read_versions(folder: str | Path) -> dict[str, str] | None:
    """Which versions made a checkpoint, as `Calibrated.write_versions` wrote it; None for a model."""
    path = Path(folder) / VERSIONS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def layer_shapes(model: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """Layer -> (out, in) of the weights that quantizers touch.

    Raises RelapseError for a model with matrices elsewhere, which would stay in full precision without a word.
    """
    from relapse.models.loading import linear_layers

    convolution = torch.nn.modules.conv._ConvNd  # a few numbers for each channel, which no quantizer rounds
    elsewhere = [name for name, module in model.named_modules() if type(module).__name__ == "Conv1D"]
    for name, module in model.named_modules():
        inside = [] if isinstance(module, convolution) else module.named_parameters(name, recurse=False)
        elsewhere += [parameter for parameter, weight in inside if weight.ndim > 2]
    if elsewhere:
        more = f" and {len(elsewhere) - 3} more" if len(elsewhere) > 3 else ""
        raise RelapseError(
            f"{type(model).__name__} keeps matrices outside torch.nn.Linear, where this quantizer does not look: "
            f"{', '.join(elsewhere[:3])}{more}. bitsandbytes knows GPT-2's Conv1D; for fused experts use a model "
            "whose experts are linear layers."
        )
    layers: dict[str, Any] = {name: model.get_submodule(name) for name in linear_layers(model)}
    return {name: (layer.out_features, layer.in_features) for name, layer in layers.items()}


def check_multiples(shapes: dict[str, tuple[int, int]], rows: int, width: int, who: str, instead: str) -> None:
    """Raise ConfigError where `who` needs layers of multiples of `rows` x `width`, and one is not: use `instead`."""
    for name, shape in shapes.items():
        for size, step, side in zip(shape, (rows, width), ("output rows", "inputs"), strict=True):
            if size % step:
                raise ConfigError(f"layer {name} has {size} {side}, and {who} needs a multiple of {step}: {instead}")


def check_group_size(shapes: dict[str, tuple[int, int]], size: int | str, known: Sequence[int] | None = None) -> None:
    """Raise ConfigError where groups of `size` weights ("row": whole rows) do not fit these (out, in) shapes.

    known: the sizes that a backend's kernels know, where they do not know all.
    """
    widths = {name: width for name, (_, width) in shapes.items()}
    bad = {name: width for name, width in widths.items() if isinstance(size, int) and width % size}
    if bad:
        name, width = next(iter(bad.items()))
        more = f" (and of {len(bad) - 1} more)" if len(bad) > 1 else ""
        common = math.gcd(*(width for _, width in shapes.values()))
        fitting = [str(number) for number in known or range(1, common + 1) if common % number == 0]
        fitting += [] if known else ["or row"]
        raise ConfigError(
            f"group_size {size} does not divide the input width {width} of layer {name}{more}. "
            f"Sizes that fit every layer: {', '.join(fitting) or 'none; use backend: gptq or awq, which know others'}."
        )


def copy_tokenizer(model_dir: str | Path, out_dir: str | Path) -> None:
    """Copy the tokenizer's files, as many as there are, from one model directory to another."""
    for name in TOKENIZER_FILES:
        if (Path(model_dir) / name).is_file():
            shutil.copyfile(Path(model_dir) / name, Path(out_dir) / name)
