"""llm-compressor's schemes that look at weights alone: NVFP4, MXFP4, FP8 and 4-bit integers with a zero point.

Scales, zero points and rounding are llm-compressor's and compressed-tensors' own, one matrix at a time. NVFP4's scale
of a whole matrix is that matrix's, where llm-compressor shares one among query, key and value and among gate and up.
Of FP8_DYNAMIC only the weights are rounded. Calibrated schemes are gptq.py's and awq.py's.
"""

from typing import Any, Literal

import torch
from pydantic import Field

from relapse.quantization import BACKENDS, Grid, RoundedWeights, check_group_size
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.settings import Count

GROUPS = {"NVFP4A16": 16, "MXFP4A16": 32}  # of the formats themselves
E2M1 = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


class CompressedSettings(QuantizerSettings):
    """A quantizer of this backend."""

    scheme: Literal["NVFP4A16", "MXFP4A16", "W4A16_ASYM", "FP8_DYNAMIC"] = Field(
        description="llm-compressor's name. NVFP4A16: E2M1 in groups of 16 with FP8 scales. MXFP4A16: E2M1 in groups "
        "of 32 with powers of two. W4A16_ASYM: 4-bit codes and an integer zero point for each group. FP8_DYNAMIC: E4M3 "
        "with a scale for each row; the scheme also rounds activations, relapse does not."
    )
    group_size: Count = Field(128, description="W4A16_ASYM: weights that share a step and a zero point.")


class Compressed(RoundedWeights):
    """compressed-tensors' fake quantization with the scales of llm-compressor's observer."""

    name = "compressed"
    settings = CompressedSettings
    examples = (
        {"scheme": "NVFP4A16"},
        {"scheme": "MXFP4A16"},
        {"scheme": "FP8_DYNAMIC"},
        {"scheme": "W4A16_ASYM"},
        {"scheme": "W4A16_ASYM", "group_size": 64},
    )

    def check(self, shapes: dict[str, tuple[int, int]], settings: CompressedSettings) -> None:
        if settings.scheme != "FP8_DYNAMIC":
            known = [GROUPS[settings.scheme]] if settings.scheme in GROUPS else None
            check_group_size(shapes, _group_size(settings), known)

    def rounded(self, weight: torch.Tensor, settings: CompressedSettings) -> torch.Tensor:
        from compressed_tensors.quantization.lifecycle.forward import fake_quantize

        arguments, found = _parameters(weight, settings)
        scale, zero = found["scale"], found["zero_point"]
        return fake_quantize(weight.float(), scale, zero, arguments, global_scale=found["global_scale"])

    def grid(self, weight: torch.Tensor, settings: CompressedSettings) -> Grid | None:
        """Of the 4-bit floating-point formats; a zero point moves the others' levels, and E4M3 has no common step."""
        if settings.scheme not in GROUPS:
            return None
        _, found = _parameters(weight, settings)
        whole = found["global_scale"]
        scale = found["scale"].float() if whole is None else found["scale"].float() / whole
        positive = torch.tensor(E2M1)
        levels = torch.cat([-positive.flip(0), torch.zeros(1), positive])
        return Grid(levels, scale.repeat_interleave(GROUPS[settings.scheme], dim=1))  # (out, groups) -> (out, in)


def _group_size(settings: CompressedSettings) -> int:
    return GROUPS.get(settings.scheme, settings.group_size)


def _parameters(weight: torch.Tensor, settings: CompressedSettings) -> tuple[Any, dict[str, torch.Tensor]]:
    """The scheme's arguments for weights, and scale, zero point and, with NVFP4, the scale of the whole matrix."""
    from compressed_tensors.quantization import preset_name_to_scheme
    from llmcompressor.observers import Observer

    arguments = preset_name_to_scheme(settings.scheme, ["Linear"]).weights
    if settings.scheme == "W4A16_ASYM":
        arguments = arguments.model_copy(update={"group_size": settings.group_size})
    observer = Observer.load_from_registry("memoryless_minmax", base_name="weight", args=arguments)
    return arguments, observer(weight.float()).get_qparams()


BACKENDS.register(Compressed())
