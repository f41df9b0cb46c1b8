"""Round-to-nearest (RTN) weight quantization, the paper's Eq. 2: Q(w) = D * round(w / D).

Symmetric integer codes of N = `bits` bits, one step D per group of `group_size` consecutive weights of a row. Only
weights are rounded: activations, embeddings, norms and the output head keep their values.

Three ways to choose D from a group's max|w| (`scale`):

- `llmcompressor`: D = max|w| / ((2^N - 1) / 2). Codes and steps equal llm-compressor's bit for bit.
- `paper`: D = max|w| / 2^(N-1), as printed. The largest positive weight then asks for the code 2^(N-1), one
  past the signed range, so it is clamped to 2^(N-1) - 1.
- a number s: D = max|w| / s, to give the grid a step of one's choice.

And two grids of one step (`levels`): `mid_tread` has the levels D * code, zero among them; `mid_rise` D * (code + 1/2),
the nearest to zero being -D/2 and D/2. Nobody deploys the second: it is a control of what the level at zero does.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from relapse.quantization import BACKENDS, Grid, RoundedWeights, check_group_size
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.settings import Count, Positive

OFFSET = {"mid_tread": 0.0, "mid_rise": 0.5}  # of a level from its code, in steps


class RtnSettings(QuantizerSettings):
    """A quantizer of this backend."""

    bits: int = Field(ge=2, le=8, description="Bits of a weight's code, N in the paper's Eq. 2.")
    group_size: Count | Literal["row"] = Field(
        description="Weights that share a step: a divisor of every layer's input width, or row."
    )
    scale: Literal["llmcompressor", "paper"] | Positive = Field(
        "llmcompressor",
        description="Step of a group: max|w| / ((2^N - 1) / 2) as in llm-compressor; the paper's max|w| / 2^(N-1); or "
        "max|w| divided by a number given here. Codes are clamped to the signed range.",
    )
    levels: Literal["mid_tread", "mid_rise"] = Field(
        "mid_tread",
        description="mid_tread: whole multiples of the step, zero among them. mid_rise, a control: the same bits and "
        "step with levels at odd multiples of half a step, none of them zero.",
    )


def quantize(
    weight: Tensor,
    bits: int,
    group_size: int | str,
    scale: str | float = "llmcompressor",
    levels: str = "mid_tread",
) -> tuple[Tensor, Tensor]:
    """Codes and steps of a weight matrix.

    weight: (out, in), any float dtype, computed in float32. group_size divides `in`, or is "row".
    Returns codes (out, in), int8 in [-2^(bits-1), 2^(bits-1) - 1], and steps (out, groups), float32.
    Ties are rounded to the even code; mid_rise has the code floor(w / D). An all-zero group has the codes 0 and
    float32's epsilon as its step, as in llm-compressor.
    """
    out_width, in_width = weight.shape
    size = group_size if isinstance(group_size, int) else in_width
    groups = weight.float().reshape(out_width, in_width // size, size)  # (out, groups, size)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    named = {"llmcompressor": (2**bits - 1) / 2, "paper": 2 ** (bits - 1)}
    largest = named[scale] if isinstance(scale, str) else scale  # in steps
    steps = groups.abs().amax(dim=-1) / largest  # (out, groups)
    steps = torch.where(steps == 0, torch.finfo(torch.float32).eps, steps)
    nearest = torch.round if levels == "mid_tread" else torch.floor
    codes = nearest(torch.clamp(groups / steps.unsqueeze(-1), low, high))
    return codes.reshape(out_width, in_width).to(torch.int8), steps


def dequantize(codes: Tensor, steps: Tensor, levels: str = "mid_tread") -> Tensor:
    """D * code, or D * (code + 1/2): (out, in) float32 from codes (out, in) int8 and steps (out, groups) float32."""
    out_width, in_width = codes.shape
    grouped = (codes.float() + OFFSET[levels]).reshape(out_width, steps.shape[1], in_width // steps.shape[1])
    return (grouped * steps.unsqueeze(-1)).reshape(out_width, in_width)


def _quantize(weight: Tensor, settings: RtnSettings) -> tuple[Tensor, Tensor]:
    return quantize(weight, settings.bits, settings.group_size, settings.scale, settings.levels)


class RoundToNearest(RoundedWeights):
    """RTN with de-quantized weights in the computing dtype."""

    name = "rtn"
    settings = RtnSettings
    examples = (
        {"bits": 8, "group_size": "row"},
        {"bits": 4, "group_size": 64},
        {"bits": 2, "group_size": 32, "scale": "paper"},
        {"bits": 5, "group_size": 64, "scale": 12.56},
        {"bits": 4, "group_size": 64, "levels": "mid_rise"},
    )

    def check(self, shapes: dict[str, tuple[int, int]], settings: RtnSettings) -> None:
        check_group_size(shapes, settings.group_size)

    def rounded(self, weight: Tensor, settings: RtnSettings) -> Tensor:
        return dequantize(*_quantize(weight, settings), settings.levels)

    def grid(self, weight: Tensor, settings: RtnSettings) -> Grid:
        _, steps = _quantize(weight, settings)
        half = 2 ** (settings.bits - 1)
        scale = steps.repeat_interleave(weight.shape[1] // steps.shape[1], dim=1)  # (out, groups) -> (out, in)
        return Grid(torch.arange(-half, half, dtype=torch.float32) + OFFSET[settings.levels], scale)


BACKENDS.register(RoundToNearest())
