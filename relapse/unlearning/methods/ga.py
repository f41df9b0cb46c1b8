"""Gradient ascent: ga, ga_gdr, ga_klr (paper, Sec. 3.1)."""

from relapse.unlearning import losses
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.retain import register_family


def forget(side: Side, settings: dict):
    """-CE(x_f)."""
    return losses.gradient_ascent(side.tokens.logits, side.tokens.targets)


register_family(Method("ga", forget))
