"""How parameters and optimiser states rest between steps: in float32, or rounded to bfloat16.

Loading a model in bfloat16 and training it with AdamW, as the paper's released code does, keeps both in bfloat16. Knows
rounding only. Compute stays in float32 on hardware without fast bfloat16, so a bfloat16 value is kept as a float32
whose lower 16 bits are zero.
"""

from collections.abc import Iterable

import torch

CHUNK = 1 << 24  # weights whose random bits are drawn at a time: 64 MB
STORAGE = {"bfloat16": torch.bfloat16, "bfloat16_stochastic": torch.bfloat16, "float32": torch.float32}


@torch.no_grad()
def store(tensors: Iterable[torch.Tensor], storage: str, generator: torch.Generator | None = None) -> None:
    """Round float32 tensors in place to what `storage` can hold.

    `bfloat16` rounds to nearest, ties to even; `bfloat16_stochastic` to one of the two neighbours, with the probability
    that makes the expectation exact, drawn from `generator`, on its device and a part of a tensor at a time.
    """
    if storage == "float32":
        return
    for tensor in tensors:
        if storage == "bfloat16":
            tensor.copy_(tensor.to(torch.bfloat16))
        else:
            # bfloat16 is float32's upper half: adding 16 random bits carries into it with the right probability.
            for bits in tensor.view(torch.int32).view(-1).split(CHUNK):  # views
                noise = torch.randint(
                    0, 1 << 16, bits.shape, dtype=torch.int32, generator=generator, device=generator.device
                )
                bits.add_(noise.to(bits.device)).bitwise_and_(-(1 << 16))


def states(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """AdamW's two moments of every parameter that has taken a step."""
    return [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
