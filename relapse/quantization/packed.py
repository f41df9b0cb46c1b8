"""The packed integers of AutoAWQ's and AutoGPTQ's checkpoints, read without either library.

Eight 4-bit codes (four 8-bit ones) share an int32. This module unpacks both layouts into codes and values. The
checkpoint itself shows which layers are packed.
"""

from pathlib import Path

import torch

from relapse.models.weights import read_tensors
from relapse.runtime.errors import RelapseError

AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # place in an int32 of each of eight neighbouring codes (awq, "gemm")


def unpack(packed: torch.Tensor, bits: int, dim: int, order: tuple[int, ...] | None = None) -> torch.Tensor:
    """The codes in an int32 matrix, low bits first, side by side along `dim`: int32, 32 / bits times as long there."""
    count = 32 // bits
    shifts = torch.tensor([bits * place for place in order or range(count)], dtype=torch.int32)
    if dim == 1:
        codes = (packed.unsqueeze(2) >> shifts) & (2**bits - 1)  # (rows, columns, count)
    else:
        codes = (packed.unsqueeze(1) >> shifts.unsqueeze(1)) & (2**bits - 1)  # (rows, count, columns)
    return codes.flatten(dim if dim == 1 else 0, dim + 1)


def awq_weight(qweight: torch.Tensor, qzeros: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """(code - zero) * scale, (out, in) float32.

    qweight: (in, out / 8) int32; qzeros: (groups, out / 8) int32; scales: (groups, out) float16.
    """
    codes, zeros = (unpack(part, 4, 1, AWQ_ORDER).float() for part in (qweight, qzeros))
    size = len(codes) // len(zeros)
    zeros, steps = (
        part.float().repeat_interleave(size, dim=0) for part in (zeros, scales)
    )  # (groups, out) -> (in, out)
    return ((codes - zeros) * steps).T.contiguous()


def gptq_weight(
    qweight: torch.Tensor, qzeros: torch.Tensor, scales: torch.Tensor, g_idx: torch.Tensor, bits: int
) -> torch.Tensor:
    """(code - zero) * scale of each input's group, (out, in) float32; AutoGPTQ stores zeros less one, modulo 2^bits.

    qweight: (in * bits / 32, out) int32; qzeros: (groups, out * bits / 32) int32; scales: (groups, out) float16; g_idx:
    (in,) the group of each input channel.
    """
    codes, zeros = unpack(qweight, bits, 0), (unpack(qzeros, bits, 1) + 1) & (2**bits - 1)
    group = g_idx.long()
    return ((codes - zeros[group]).float() * scales.float()[group]).T.contiguous()


def dequantized(checkpoint: str | Path, bits: int) -> dict[str, torch.Tensor]:
    """Every packed layer of a checkpoint: layer + ".weight" -> (out, in) float32.

    Raises RelapseError where it has none.
    """
    tensors = read_tensors(checkpoint)
    layers = [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]
    if not layers:
        raise RelapseError(f"{checkpoint} holds no packed weights (qweight)")
    found = {}
    for layer in layers:
        codes, zeros, scales = (tensors[f"{layer}.{part}"] for part in ("qweight", "qzeros", "scales"))
        g_idx = tensors.get(f"{layer}.g_idx")
        found[f"{layer}.weight"] = (
            awq_weight(codes, zeros, scales) if g_idx is None else gptq_weight(codes, zeros, scales, g_idx, bits)
        )
    return found
