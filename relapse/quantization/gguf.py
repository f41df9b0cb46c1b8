"""GGUF: the block formats of llama.cpp, through libgguf, whose bytes are llama.cpp's own.

The legacy formats (q4_0, q4_1, q8_0) and iq4_nl take blocks of 32 weights of a row, the k-quants superblocks of 256. No
importance matrix. llama.cpp computes with de-quantized weights as here, but rounds activations to 8 bit as well; scores
here are those of the weights alone. This module quantizes blocks; it reads and writes no GGUF files.
"""

from typing import Literal

import numpy as np
import torch
from pydantic import Field

from relapse.quantization import BACKENDS, Grid, RoundedWeights
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.errors import ConfigError

BLOCKS = {"q4_0": 32, "q4_1": 32, "q8_0": 32, "iq4_nl": 32, "q3_k": 256, "q4_k": 256, "q5_k": 256, "q6_k": 256}
NL = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)  # iq4_nl's levels, none at zero
LEVELS = {"q4_0": range(-8, 8), "q8_0": range(-127, 128), "iq4_nl": NL}


class GgufSettings(QuantizerSettings):
    """A quantizer of this backend."""

    format: Literal[*BLOCKS] = Field(  # type: ignore[valid-type]
        description="GGML type of the linear layers. q3_k to q6_k need input widths that are multiples of 256, the "
        "others of 32."
    )


class Gguf(RoundedWeights):
    """libgguf's kernels for rows, the reference ones."""

    name = "gguf"
    settings = GgufSettings
    examples = tuple({"format": name} for name in BLOCKS)

    def check(self, shapes: dict[str, tuple[int, int]], settings: GgufSettings) -> None:
        block = BLOCKS[settings.format]
        for layer, (_, width) in shapes.items():
            if width % block:
                fitting = [
                    name for name, size in BLOCKS.items() if all(width % size == 0 for _, width in shapes.values())
                ]
                raise ConfigError(
                    f"format {settings.format} takes rows in blocks of {block}, and layer {layer} has {width} inputs. "
                    f"Formats that fit every layer: {', '.join(fitting) or 'none'}."
                )

    def rounded(self, weight: torch.Tensor, settings: GgufSettings) -> torch.Tensor:
        import libgguf

        encoded = _encoded(weight, settings)
        rows = libgguf.dequantize_rows(encoded, _type(settings), n_per_row=weight.shape[1])
        return torch.from_numpy(rows).to(weight.device)

    def grid(self, weight: torch.Tensor, settings: GgufSettings) -> Grid | None:
        """Where a block has one scale and no offset; others search for scale and offset together."""
        if settings.format not in LEVELS:
            return None
        blocks = _encoded(weight, settings).reshape(weight.numel() // 32, -1)  # (blocks, bytes)
        scale = torch.from_numpy(np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32))  # (blocks, 1)
        scale = torch.where(scale == 0, torch.finfo(torch.float32).tiny, scale)  # of a block of zeros
        levels = torch.tensor(list(LEVELS[settings.format]), dtype=torch.float32)
        return Grid(levels, scale.expand(-1, 32).reshape(weight.shape).to(weight.device))


def _type(settings: GgufSettings) -> int:
    import libgguf

    return libgguf.GGMLQuantizationType[settings.format.upper()]


def _encoded(weight: torch.Tensor, settings: GgufSettings) -> np.ndarray:
    """The bytes of a GGUF file, (out, bytes of a row)."""
    import libgguf

    return libgguf.quantize_rows(weight.detach().float().cpu().numpy(), _type(settings))


BACKENDS.register(Gguf())
