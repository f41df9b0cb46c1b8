"""AWQ (arXiv 2306.00978) through llm-compressor: input channels with large activations are scaled up before rounding.

This module maps config keys to llm-compressor's options and records the scales, which AWQ moves into the layers before.
compressor.py handles windows, checkpoints and loading.
"""

from typing import Any

import torch
from pydantic import Field

from relapse.quantization import BACKENDS, layer_shapes
from relapse.quantization.compressor import CompressorSettings, LLMCompressor
from relapse.quantization.folding import Folding
from relapse.runtime.errors import RelapseError


class AwqSettings(CompressorSettings):
    """A quantizer of this backend."""

    symmetric: bool = Field(
        False,
        description="true: codes around zero, as in round-to-nearest; false: with a zero point for each group, as in "
        "AWQ's own code.",
    )
    duo_scaling: bool = Field(
        True,
        description="true: a channel's scale depends on its weights and its activations; false: on activations only.",
    )


class AWQ(LLMCompressor):
    """llm-compressor's AWQModifier, then rounding to nearest, on every linear layer but the output head."""

    name = "awq"
    settings = AwqSettings
    examples = (
        {"bits": 4, "group_size": 64},
        {"bits": 8, "group_size": "row", "symmetric": True, "duo_scaling": False},
    )

    def recipe(self, settings: Any, scheme: Any, ignore: list[str], folding: Folding) -> list:
        from llmcompressor.modifiers.quantization import QuantizationModifier
        from llmcompressor.modifiers.transform.awq import AWQModifier

        class Noting(AWQModifier):
            def _set_resolved_mappings(self, model: torch.nn.Module) -> None:
                try:
                    super()._set_resolved_mappings(model)
                except ValueError as error:
                    raise RelapseError(f"{unknown(model)} ({error})") from None
                if not self._resolved_mappings:  # it would round to nearest, and report it in its log alone
                    raise RelapseError(unknown(model))

            def _compute_best_scale(self, mapping, *args) -> torch.Tensor:
                scale = super()._compute_best_scale(mapping, *args)
                folding.add(mapping.smooth_name, mapping.balance_names, scale)
                return scale

        if not torch.accelerator.is_available():
            leave_memory_unpinned()
        return [
            Noting(duo_scaling=settings.duo_scaling),
            QuantizationModifier(config_groups={"linear": scheme}, ignore=ignore),
        ]


def unknown(model: torch.nn.Module) -> str:
    """The message for a model whose layers are not named as llm-compressor expects."""
    layer = next(iter(layer_shapes(model)))
    return (
        f"AWQ knows no layer before {layer} of {type(model).__name__} that could take its scales: use backend: gptq or "
        "rtn, which need none"
    )


def leave_memory_unpinned() -> None:
    """Keep llm-compressor's AWQ from pinning memory, which fails without an accelerator.

    It pins before every grid search without asking whether there is one (llmcompressor 0.14.0,
    since https://github.com/vllm-project/llm-compressor/pull/2813). A test fails when this can go.
    """
    from llmcompressor.pipelines.cache import IntermediatesCache

    IntermediatesCache.pin_memory = lambda self, batch_index, input_names=None: None


BACKENDS.register(AWQ())
