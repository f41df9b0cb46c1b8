"""SimNPO: simnpo, simnpo_gdr, simnpo_klr (arXiv 2410.07163): NPO without a reference model, on the mean token."""

import torch.nn.functional as F
from pydantic import Field

from relapse.runtime.settings import Positive
from relapse.unlearning import losses
from relapse.unlearning.methods import Method, Side, needs
from relapse.unlearning.retain import register_family
from relapse.unlearning.settings import MethodSettings


class SimNpo(MethodSettings):
    """The keys of SimNPO."""

    beta: Positive = Field(2.5, description="Inverse temperature; 2.5 in SimNPO's paper on TOFU.")
    margin: float = Field(0.0, ge=0, description="gamma, the margin of the reward; 0 in SimNPO's paper.")


def forget(side: Side, settings: SimNpo):
    """-(2 / beta) mean over windows of log sigmoid(-(beta / |x|) log p(x) - gamma)."""
    beta = settings.beta
    per_token = losses.sequence_log_probs(side.tokens) / losses.lengths(side.tokens)  # (B,)
    return -(2 / beta) * F.logsigmoid(-beta * per_token - settings.margin).mean()


register_family(Method("simnpo", forget, forget_mean=needs("windows"), settings=SimNpo))
