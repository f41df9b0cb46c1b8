"""UNDIAL, self-distillation with adjusted logits: undial, undial_gdr, undial_klr (arXiv 2402.10052)."""

import torch
import torch.nn.functional as F
from pydantic import Field

from relapse.runtime.settings import Positive
from relapse.unlearning.methods import Method, Side, needs
from relapse.unlearning.retain import register_family
from relapse.unlearning.settings import MethodSettings


class Undial(MethodSettings):
    """The keys of UNDIAL."""

    penalty: Positive = Field(10.0, description="gamma, subtracted from the target's logit of the true next token.")


def forget(side: Side, settings: Undial):
    """Mean over tokens of the cross-entropy to softmax(z_ref - gamma e_y), y being the token that does come next."""
    targets = side.tokens.targets[:, None]
    penalty = torch.zeros_like(side.reference_logits).scatter(1, targets, settings.penalty)  # (M, V)
    return F.cross_entropy(side.tokens.logits, (side.reference_logits - penalty).softmax(-1))


register_family(Method("undial", forget, forget_reference=needs("logits"), settings=Undial))
