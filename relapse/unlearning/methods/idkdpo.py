"""IdkDPO: idkdpo, idkdpo_gdr, idkdpo_klr (arXiv 2305.18290, Eq. 7): prefer a refusal to the true answer.

DPO (arXiv 2305.18290, Eq. 7) with refusals as in TOFU (arXiv 2401.06121) as what is preferred; scaled by 2 / beta as
NPO (arXiv 2404.05868) is, which is this loss without the preferred answer. It reads question/answer pairs about the
forget text, which the corpus must have.
"""

from pydantic import Field

from relapse.runtime.settings import Positive
from relapse.unlearning import losses
from relapse.unlearning.methods import Method, Side, needs
from relapse.unlearning.retain import register_family
from relapse.unlearning.settings import MethodSettings


class Preference(MethodSettings):
    """The keys of DPO."""

    beta: Positive = Field(0.1, description="Inverse temperature of the preference.")


def forget(side: Side, settings: Preference):
    """-(2 / beta) mean over questions of log sigmoid(beta (ratio of the other answer - ratio of the true one)).

    An answer's ratio is log p - log p_ref, summed over its tokens.
    """
    true, other = (losses.sequence_log_probs(its.tokens) - its.reference_log_probs for its in (side, side.other))
    return losses.npo(true, other, settings.beta)


def preference(name: str, answers: str) -> Method:
    """DPO with other answers of this kind as what is preferred."""
    return Method(
        name,
        forget,
        forget_reference=needs("log_probs"),
        forget_mean=needs("windows"),
        settings=Preference,
        answers=answers,
        compared=True,
    )


register_family(preference("idkdpo", "refusals"))
