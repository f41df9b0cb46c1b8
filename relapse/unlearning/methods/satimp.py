"""SatImp: satimp, satimp_gdr, satimp_klr (arXiv 2505.11953): gradient ascent weighted by saturation and importance."""

from pydantic import Field

from relapse.unlearning import losses
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.retain import register_family
from relapse.unlearning.settings import MethodSettings


class SatImp(MethodSettings):
    """The keys of SatImp."""

    beta1: float = Field(5.0, ge=0, description="Power of p in a token's weight; larger: forgotten tokens count less.")
    beta2: float = Field(
        1.0, ge=0, description="Power of 1 - p in a token's weight; larger: certain tokens count less."
    )


def forget(side: Side, settings: SatImp):
    """Mean over tokens of w log p, with w = p^beta1 (1 - p)^beta2 a constant."""
    log_probs = losses.token_log_probs(side.tokens)
    p = log_probs.detach().exp()
    return (p**settings.beta1 * (1 - p) ** settings.beta2 * log_probs).mean()


register_family(Method("satimp", forget, settings=SatImp))
