"""GPTQ (arXiv 2210.17323) through llm-compressor: weights rounded column by column, each error spread over the rest.

This module maps config keys to llm-compressor's options. compressor.py handles windows, checkpoints and loading.
"""

from typing import Any, Literal

from pydantic import Field

from relapse.quantization import BACKENDS
from relapse.quantization.compressor import CompressorSettings, LLMCompressor
from relapse.quantization.folding import Folding
from relapse.runtime.errors import RelapseError
from relapse.runtime.settings import Positive


class GptqSettings(CompressorSettings):
    """A quantizer of this backend."""

    symmetric: bool = Field(
        True, description="true: codes around zero, as in round-to-nearest; false: with a zero point for each group."
    )
    act_order: Literal["static", "weight", "none"] = Field(
        "static",
        description="Order in which columns are rounded. none: from left to right. static and weight: those with the "
        "largest activations first; groups are made of neighbouring columns (static) or follow that order (weight).",
    )
    dampening: Positive = Field(0.01, description="Share of the Hessian's mean diagonal that is added to its diagonal.")


class GPTQ(LLMCompressor):
    """llm-compressor's GPTQModifier on every linear layer but the output head."""

    name = "gptq"
    settings = GptqSettings
    examples = (
        {"bits": 4, "group_size": 64},
        {"bits": 8, "group_size": "row", "act_order": "none"},
        {"bits": 4, "group_size": 32, "symmetric": False, "act_order": "weight", "dampening": 0.05},
    )

    def recipe(self, settings: Any, scheme: Any, ignore: list[str], folding: Folding) -> list:
        from llmcompressor.modifiers.gptq import GPTQModifier

        class Strict(GPTQModifier):
            def on_finalize(self, state, **kwargs) -> bool:
                # llm-compressor would round these to nearest, and report it in its log alone.
                if self._rtn_fallback_module_names:
                    raise RelapseError(
                        f"GPTQ cannot invert the Hessian of {', '.join(self._rtn_fallback_module_names[:5])}: raise "
                        f"dampening above {settings.dampening}, or calibrate on more text (samples)"
                    )
                return super().on_finalize(state, **kwargs)

        return [
            Strict(
                config_groups={"linear": scheme},
                ignore=ignore,
                actorder=None if settings.act_order == "none" else settings.act_order,
                dampening_frac=settings.dampening,
            )
        ]


BACKENDS.register(GPTQ())
