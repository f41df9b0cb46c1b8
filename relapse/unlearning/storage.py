"""How parameters and optimiser states rest between steps: in float32, or rounded to bfloat16.

Loading a model in bfloat16 and training it with AdamW, as the paper's released code does, keeps both in bfloat16. Knows
rounding only. Compute stays in float32 on hardware without fast bfloat16, so a bfloat16 value is kept as a float32
whose lower 16 bits are zero.
"""

from collections.abc import Iterable

import torch

CHUNK = 1 << 24  # weights whose random bits are drawn at a time: 64 MB
STORAGE = {
    "bfloat16": torch.bfloat16,
    "bfloat16_stochastic": torch.bfloat16,
    "bfloat16_kahan": torch.bfloat16,
    "float32": torch.float32,
}


class RandomBits:
    """The bits that stochastic rounding adds, drawn where the weights are: a generator for each device, of one seed."""

    def __init__(self, seed: int):
        self.seed = seed
        self.generators: dict[torch.device, torch.Generator] = {}

    def __call__(self, like: torch.Tensor) -> torch.Tensor:
        """16 random bits for every value of `like`: int32 of its shape, on its device."""
        device = like.device
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        return torch.randint(
            0, 1 << 16, like.shape, dtype=torch.int32, generator=self.generators[device], device=device
        )


@torch.no_grad()
def store(tensors: Iterable[torch.Tensor], storage: str, random_bits: RandomBits | None = None) -> None:
    """Round float32 tensors in place to what `storage` can hold.

    `bfloat16` and `bfloat16_kahan` round to nearest, ties to even; `bfloat16_stochastic` to one of the two neighbours,
    with the probability that makes the expectation exact, by `random_bits`, a part of a tensor at a time.
    """
    if storage == "float32":
        return
    for tensor in tensors:
        if storage in ("bfloat16", "bfloat16_kahan"):
            tensor.copy_(tensor.to(torch.bfloat16))
        else:
            # bfloat16 is float32's upper half: adding 16 random bits carries into it with the right probability.
            assert random_bits is not None
            for bits in tensor.view(torch.int32).view(-1).split(CHUNK):  # views
                bits.add_(random_bits(bits)).bitwise_and_(-(1 << 16))


class Rounding:
    """What is done to the parameters after every step, as `storage` asks; called without arguments.

    `bfloat16_kahan` rounds to nearest and keeps what was lost, itself in bfloat16, for the next step: Kahan's summation
    (Commun. ACM 8, 1965; for training in bfloat16: arXiv 2010.06192). So small steps add up until they count.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], storage: str, random_bits: RandomBits):
        self.parameters, self.storage, self.random_bits = list(parameters), storage, random_bits
        kahan = storage == "bfloat16_kahan"
        self.before = [parameter.detach().clone() for parameter in self.parameters] if kahan else []
        self.lost = [torch.zeros_like(parameter) for parameter in self.before]

    @torch.no_grad()
    def __call__(self) -> None:
        for parameter, before, lost in zip(self.parameters, self.before, self.lost, strict=bool(self.before)):
            step = parameter - before + lost
            parameter.copy_((before + step).to(torch.bfloat16))
            lost.copy_((step - (parameter - before)).to(torch.bfloat16))
            before.copy_(parameter)
        if not self.before:
            store(self.parameters, self.storage, self.random_bits)


def states(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """AdamW's two moments of every parameter that has taken a step; other optimisers keep none that can be rounded."""
    return [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq") if name in state]
