"""CE-U, cross-entropy unlearning: ceu, ceu_gdr, ceu_klr (arXiv 2503.01224).

The paper leaves out the first token of an answer. Text in windows has no answers, so every token counts here.
"""

import torch
import torch.nn.functional as F

from relapse.unlearning.methods import Method, Side
from relapse.unlearning.retain import register_family
from relapse.unlearning.settings import MethodSettings


def forget(side: Side, settings: MethodSettings):
    """Mean over tokens of the cross-entropy to the model's own distribution without the token that does come next."""
    logits, targets = side.tokens.logits, side.tokens.targets
    others = logits.detach().scatter(1, targets[:, None], -torch.inf)  # (M, V)
    return F.cross_entropy(logits, others.softmax(-1))


register_family(Method("ceu", forget, copies=2))  # without the token, and as a distribution
