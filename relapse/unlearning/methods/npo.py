"""Negative preference optimisation: npo, npo_gdr, npo_klr (paper, Sec. 3.1; arXiv 2404.05868, Eq. 3)."""

from relapse.unlearning import losses
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.retain import register_family

BETA = {
    "beta": {
        "type": "number",
        "exclusiveMinimum": 0,
        "default": 0.1,
        "description": "NPO's inverse temperature; 0.1 in the paper. GA is the limit of 0.",
    }
}


def forget(side: Side, settings: dict):
    """Sequence-level NPO against the target's log-probabilities."""
    log_probs = losses.sequence_log_probs(side.tokens)
    return losses.npo(log_probs, side.reference_log_probs, settings["beta"])


register_family(Method("npo", forget, forget_reference=True, options=BETA))
