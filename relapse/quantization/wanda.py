"""Wanda (arXiv 2306.11695) through llm-compressor: in every row the weights with the smallest |w| ||x||_2 become zero.

x: what a weight's input channel sees on the calibration text. All other weights keep their values.
"""

from typing import Any

from relapse.quantization import BACKENDS
from relapse.quantization.pruner import Pruner, PrunerSettings
from relapse.runtime.errors import ConfigError


class WandaSettings(PrunerSettings):
    """A quantizer of this backend."""


class Wanda(Pruner):
    """llm-compressor's WandaPruningModifier. Of a row's weights the share is rounded down."""

    name = "wanda"
    settings = WandaSettings
    examples = ({"share": 0.1}, {"share": 0.3})

    def check(self, shapes: dict[str, tuple[int, int]], settings: WandaSettings) -> None:
        for name, (_, width) in shapes.items():
            if int(width * settings.share) == 0:
                raise ConfigError(
                    f"share {settings.share:g} is less than one of the {width} weights in a row of layer {name}: use "
                    f"at least {1 / width:.2g}"
                )

    def modifier(self, settings: WandaSettings, layers: list[str]) -> Any:
        from llmcompressor.modifiers.pruning.wanda import WandaPruningModifier

        return WandaPruningModifier(sparsity=settings.share, targets=layers)


BACKENDS.register(Wanda())
