"""Weighted gradient ascent: wga, wga_gdr, wga_klr (arXiv 2502.19301)."""

from pydantic import Field

from relapse.unlearning import losses
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.retain import register_family
from relapse.unlearning.settings import MethodSettings


class Wga(MethodSettings):
    """The keys of weighted gradient ascent."""

    beta: float = Field(1.0, ge=0, description="Power of a token's probability in its weight; 0 is gradient ascent.")


def forget(side: Side, settings: Wga):
    """Mean over tokens of w log p, with w = p^beta a constant: a token that is forgotten already counts less."""
    log_probs = losses.token_log_probs(side.tokens)
    return (log_probs.detach().exp() ** settings.beta * log_probs).mean()


register_family(Method("wga", forget, settings=Wga))
