"""RMU, representation misdirection (arXiv 2403.03218): rmu with its own retain term; rmu_gdr, rmu_klr.

Steers what a block puts out on forget text to a random direction, and keeps it on retain text. Only the weights of that
block and the two before it move. A mask of SURE would choose once more, so there is none. The last token of a window,
which predicts nothing, is left out.
"""

import torch
from pydantic import Field

from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Positive, Whole
from relapse.unlearning.methods import METHODS, Method, Side, needs
from relapse.unlearning.retain import Constrained, constrained
from relapse.unlearning.settings import MethodSettings

BLOCKS = 3  # the steered one and those before it


class Steered(MethodSettings):
    """The keys of RMU."""

    block: Whole = Field(
        description="l, the block whose output is steered, counted from 0. It must not be the last one, whose output "
        "no block reads. The paper has 7 of 32 for Zephyr 7B."
    )
    steering: Positive = Field(
        6.5, description="c, the length of the vector that the output is steered to; 6.5 in the paper."
    )


class Rmu(Constrained, Steered):
    """The keys of RMU with its own retain term."""


def direction(width: int, seed: int) -> torch.Tensor:
    """u: (width,), numbers between 0 and 1 drawn from `seed` and scaled to length 1; the same for a whole run."""
    generator = torch.Generator().manual_seed(seed_for(seed, "rmu"))
    drawn = torch.rand(width, generator=generator)
    return drawn / drawn.norm()


def forget(side: Side, settings: Steered):
    """Mean over tokens of ||h_l - c u||^2."""
    hidden = side.tokens.hidden
    aim = settings.steering * direction(hidden.shape[1], side.seed).to(hidden.device)
    return (hidden - aim).square().sum(dim=-1).mean()


def retain(side: Side, settings: Rmu):
    """Mean over tokens of ||h_l - h_l of the target||^2."""
    return (side.tokens.hidden - side.reference_hidden).square().sum(dim=-1).mean()


def trained(settings: Steered) -> range:
    """The blocks whose weights move."""
    return range(max(0, settings.block + 1 - BLOCKS), settings.block + 1)


STEERED = Method("rmu", forget, settings=Steered, block=lambda settings: settings.block, trained=trained)

for method in constrained(STEERED):
    METHODS.register(method)
METHODS.register(
    Method(
        "rmu",
        forget,
        retain=retain,
        retain_reference=needs("hidden"),
        settings=Rmu,
        block=STEERED.block,
        trained=trained,
    )
)
