"""Negative preference optimisation: npo, npo_gdr, npo_klr (paper, Sec. 3.1; arXiv 2404.05868, Eq. 3)."""

from pydantic import Field

from relapse.runtime.settings import Positive
from relapse.unlearning import losses
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.retain import Formulated, register_family


class Npo(Formulated):
    """The keys of NPO."""

    beta: Positive = Field(0.1, description="NPO's inverse temperature; 0.1 in the paper. GA is the limit of 0.")


def forget(side: Side, settings: Npo):
    """NPO against the target: on sequence log-probabilities, or on raw logits as the released code has it."""
    if settings.formulation == "released":
        return losses.npo_on_logits(side.tokens.logits, side.reference_logits, settings.beta)
    log_probs = losses.sequence_log_probs(side.tokens)
    return losses.npo(log_probs, side.reference_log_probs, settings.beta)


def reference(settings: Npo) -> str:
    """What NPO needs of the target, by formulation."""
    return "logits" if settings.formulation == "released" else "log_probs"


def mean(settings: Npo) -> str:
    """What the loss is a mean over, by formulation."""
    return "tokens" if settings.formulation == "released" else "windows"


register_family(Method("npo", forget, forget_reference=reference, forget_mean=mean, settings=Npo))
