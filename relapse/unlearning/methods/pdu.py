"""PDU, primal-dual unlearning (arXiv 2506.05314): forget as much as a bound on the retain loss allows.

The Lagrangian L_forget + lambda (L_retain - epsilon) is minimised in the weights and maximised in lambda >= 0, a step
of each in turn. L_retain is GDR's, CE(x_r).
"""

from pydantic import Field

from relapse.runtime.settings import Positive
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.retain import Constrained, gdr, register_with_sure


class Pdu(Constrained):
    """The keys of PDU."""

    alpha: Positive = Field(1.0, description="lambda at the first step; after it lambda is a dual variable.")
    epsilon: Positive = Field(
        description="Bound on the retain loss, nats per token; the paper proposes (1 + tolerance) times the target's."
    )
    dual_lr: Positive = Field(
        1.0, description="Step of lambda: lambda <- max(0, lambda + dual_lr (CE(x_r) - epsilon))."
    )


def forget(side: Side, settings: Pdu):
    """Logit-margin flattening: mean over tokens of (largest logit - mean logit)^2, 0 for a uniform distribution."""
    logits = side.tokens.logits
    return (logits.amax(dim=-1) - logits.mean(dim=-1)).square().mean()


register_with_sure(Method("pdu", forget, retain=gdr, settings=Pdu, dual=True))
