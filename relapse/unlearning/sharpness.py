"""Sharpness-aware minimization of the forget loss (SAM, arXiv 2502.05374)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


@contextmanager
def moved_along(parameters: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor], rho: float) -> Iterator[None]:
    """The weights w + rho g / ||g|| for a moment, with the norm over all parameters; afterwards w again, to the bit.

    It is where the loss is highest, to first order, at this distance from w. gradients: g, float32, of the parameters'
    shapes. A gradient of 0 moves nothing.
    """
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    kept = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.add_((gradient * (rho / norm.clamp(min=1e-30))).to(parameter.dtype))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(parameters, kept, strict=True):
                parameter.copy_(before)
