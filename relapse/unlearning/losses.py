"""The paper's unlearning losses as pure functions (arXiv 2410.16454, Sec. 3; NPO: arXiv 2404.05868).

Where the paper's text and its released code differ, both stand here: `npo` and `kl_divergence` are the text's,
`npo_on_logits`, `kl_on_logits` and `kl_by_window` the released code's. All of them see the M real tokens of a batch of
B windows, never padding: logits (M, V) and targets (M,). How logits come about is the trainer's.
"""

import torch
import torch.nn.functional as F

from relapse.text.windows import Tokens


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """CE = mean over tokens of -log p(token). With the retain batch this is GDR's term. Scalar, in nats."""
    return F.cross_entropy(logits, targets)


def gradient_ascent(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """GA: L = -CE(x_f). Scalar, in nats."""
    return -F.cross_entropy(logits, targets)


def token_log_probs(tokens: Tokens) -> torch.Tensor:
    """log p of every token that does come next: (M,), in nats."""
    return -F.cross_entropy(tokens.logits, tokens.targets, reduction="none")


def sequence_log_probs(tokens: Tokens) -> torch.Tensor:
    """log p(x) of every window, summed over its tokens: (tokens.size,), in nats."""
    log_probs = token_log_probs(tokens)
    return log_probs.new_zeros(tokens.size).index_add(0, tokens.sequence, log_probs)


def lengths(tokens: Tokens) -> torch.Tensor:
    """Predicted tokens of every window, (tokens.size,)."""
    return tokens.sequence.bincount(minlength=tokens.size)


def npo(log_probs: torch.Tensor, reference_log_probs: torch.Tensor, beta: float) -> torch.Tensor:
    """NPO: L = (2 / beta) * mean_x[-log sigmoid(-beta * (log p(x) - log p_ref(x)))]. Scalar.

    log_probs, reference_log_probs: (B,), summed over a window's tokens (sequence-level, as in the NPO paper).
    """
    return -(2 / beta) * F.logsigmoid(-beta * (log_probs - reference_log_probs)).mean()


def kl_divergence(log_probs: torch.Tensor, reference_log_probs: torch.Tensor, direction: str) -> torch.Tensor:
    """KLR's term: a proper KL divergence per token, averaged over tokens. Scalar, in nats.

    log_probs, reference_log_probs: (M, V), normalised. direction `reference_to_model` is KL(p_ref || p), which the
    released SURE uses; `model_to_reference` is KL(p || p_ref). Raises ValueError for another direction.
    """
    if direction == "reference_to_model":
        return F.kl_div(log_probs, reference_log_probs, reduction="batchmean", log_target=True)
    if direction == "model_to_reference":
        return F.kl_div(reference_log_probs, log_probs, reduction="batchmean", log_target=True)
    raise ValueError(f"unknown KL direction {direction!r}")


def npo_on_logits(logits: torch.Tensor, reference_logits: torch.Tensor, beta: float) -> torch.Tensor:
    """The released code's NPO, element-wise on raw logits z: L = (2 / beta) * mean[-log sigmoid(-beta * (z - z_ref))].

    logits, reference_logits: (M, V). The mean is over all M * V elements, so that every token of the vocabulary is
    pushed down at every position, whether or not it stands there. The released code also averages over padding and
    each window's last position, which predicts nothing; here only real next tokens count. Scalar.
    """
    return -(2 / beta) * F.logsigmoid(-beta * (logits - reference_logits)).mean()


def kl_on_logits(logits: torch.Tensor, reference_logits: torch.Tensor, windows: int) -> torch.Tensor:
    """The released code's KLR: kl_div on raw logits, sum of exp(z_ref) * (z_ref - z), divided by the number of windows.

    logits, reference_logits: (M, V). Not a divergence, since neither side is normalised: it has no lower bound and
    falls without end as z grows. Summed over a window's tokens, where `kl_divergence` averages. Scalar.
    """
    return F.kl_div(logits, reference_logits, reduction="sum", log_target=True) / windows


def kl_by_window(log_probs: torch.Tensor, reference_log_probs: torch.Tensor, windows: int) -> torch.Tensor:
    """The released SURE's KLR: KL(p_ref || p) summed over a window's tokens, averaged over windows. Scalar, in nats.

    log_probs, reference_log_probs: (M, V), normalised: unlike `kl_on_logits` a divergence, which is 0 at least.
    """
    return F.kl_div(log_probs, reference_log_probs, reduction="sum", log_target=True) / windows
