"""Round-to-nearest: every weight goes to the nearest multiple of its group's step."""

import torch


def steps(weight: torch.Tensor, bits: int, group_size: int) -> torch.Tensor:
    """max|w| / ((2^bits - 1) / 2) of every group, as llm-compressor has it: (out, in) -> (out, in), a step a weight."""
    groups = weight.double().reshape(len(weight), -1, group_size)  # (out, in / size, size)
    largest = groups.abs().amax(dim=2, keepdim=True)
    return (largest / ((2**bits - 1) / 2)).expand_as(groups).reshape(weight.shape)


def nearest(weight: torch.Tensor, step: torch.Tensor, bits: int) -> torch.Tensor:
    """The nearest level, codes clamped to the signed range. Any shape, float64."""
    return (weight / step).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).round() * step


def rtn(weight: torch.Tensor, bits: int, group_size: int) -> torch.Tensor:
    """Q(w) for a matrix (out, in), float64."""
    return nearest(weight.double(), steps(weight, bits, group_size), bits)
