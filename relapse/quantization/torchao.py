"""torchao's int4 with a float offset: w = step * code + offset for a group, so that no level need lie at zero.

Two ways to choose step and offset: from a group's extremes, as torchao's int4 kernels have it; or by HQQ
(https://mobiusml.github.io/hqq_blog), which starts from an offset of whole steps and moves it to where the error is
small in a norm below 1, so that a level stays near zero. Both are torchao's own functions, computed in float32 on the
CPU, where its packed kernels do not run.
"""

import logging
from types import ModuleType
from typing import Literal

import torch
from pydantic import Field

from relapse.quantization import BACKENDS, RoundedWeights, check_group_size
from relapse.quantization.settings import QuantizerSettings

SIZES = (32, 64, 128, 256)  # that its kernels know


class TorchaoSettings(QuantizerSettings):
    """A quantizer of this backend."""

    bits: Literal[4] = Field(4, description="Bits of a weight's code.")
    group_size: Literal[SIZES] = Field(64, description="Weights that share step and offset.")
    algorithm: Literal["tinygemm", "hqq"] = Field(
        "hqq",
        description="How step and offset are chosen, torchao's int4_choose_qparams_algorithm: from the group's "
        "smallest and largest weight, or by half-quadratic quantization.",
    )


class Torchao(RoundedWeights):
    """torchao's int4 weight-only quantization."""

    name = "torchao"
    settings = TorchaoSettings
    examples = ({"algorithm": "hqq"}, {"algorithm": "tinygemm", "group_size": 32})

    def check(self, shapes: dict[str, tuple[int, int]], settings: TorchaoSettings) -> None:
        check_group_size(shapes, settings.group_size, SIZES)

    def rounded(self, weight: torch.Tensor, settings: TorchaoSettings) -> torch.Tensor:
        primitives = _primitives()
        block, weight = (1, settings.group_size), weight.detach().float()
        if settings.algorithm == "hqq":
            codes, step, offset, _ = primitives._choose_qparams_and_quantize_affine_hqq(
                weight, settings.bits, settings.group_size, compute_dtype=torch.float32, device=weight.device.type
            )
        else:
            chosen = (primitives.MappingType.ASYMMETRIC, block, torch.int32, 0, 15)
            step, offset = primitives._choose_qparams_affine_tinygemm(weight, *chosen)
            codes = primitives._quantize_affine_tinygemm(weight, block, step, offset, torch.int32, 0, 15)
        return primitives._dequantize_affine_tinygemm(codes, block, step, offset, codes.dtype, 0, 15)


def _primitives() -> ModuleType:
    for name in ("torchao", "torch.utils._pytree"):  # they would report CUDA kernels that a CPU does not need
        logging.getLogger(name).setLevel(logging.ERROR)
    from torchao.quantization import quant_primitives

    return quant_primitives


BACKENDS.register(Torchao())
