"""Gradient ascent: ga, ga_gdr, ga_klr (paper, Sec. 3.1)."""

from relapse.unlearning import losses
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.retain import register_family
from relapse.unlearning.settings import MethodSettings


def forget(side: Side, settings: MethodSettings):
    """-CE(x_f)."""
    return losses.gradient_ascent(side.tokens.logits, side.tokens.targets)


register_family(Method("ga", forget))
