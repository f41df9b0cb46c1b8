"""IdkNLL: idknll, idknll_gdr, idknll_klr (TOFU, arXiv 2401.06121): learn a refusal for every question.

It reads question/answer pairs about the forget text, which the corpus must have.
"""

from relapse.unlearning import losses
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.retain import register_family
from relapse.unlearning.settings import MethodSettings


def forget(side: Side, settings: MethodSettings):
    """CE of the refusals, behind their questions."""
    return losses.cross_entropy(side.tokens.logits, side.tokens.targets)


register_family(Method("idknll", forget, answers="refusals"))
