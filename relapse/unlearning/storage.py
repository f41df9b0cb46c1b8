"""How parameters rest between steps: in float32, or rounded to bfloat16 as when a bfloat16 model is trained directly.

Knows rounding only. Compute stays in float32 on hardware without fast bfloat16, so a bfloat16 parameter is kept as a
float32 tensor whose values are bfloat16 values.
"""

from collections.abc import Iterable

import torch

STORAGE = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@torch.no_grad()
def store(parameters: Iterable[torch.Tensor], storage: str) -> None:
    """Round every parameter in place to what `storage` can hold (round to nearest, ties to even)."""
    dtype = STORAGE[storage]
    for parameter in parameters:
        if parameter.dtype != dtype:
            parameter.copy_(parameter.to(dtype))
