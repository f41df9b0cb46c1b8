"""The loop that unlearns: forget and retain windows in one forward pass, reference values computed once.

Knows batches, the reference model's cached outputs, the optimiser and storage; what a step minimises is the
method's, and what comes in and goes out is the script's.
"""

import copy
import random
from collections.abc import Callable, Sequence

import torch

from relapse.errors import RelapseError
from relapse.seeding import seed_for
from relapse.sequences import Order, predict
from relapse.unlearning.losses import sequence_log_probs
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.storage import store

Windows = Sequence[Sequence[int]]
Pairs = Sequence[tuple[int, int]]
REFERENCE_BATCH = 16  # windows in one forward pass of the reference model


def steps_of(settings: dict, forget_windows: int) -> int:
    """Number of steps: `steps`, or `epochs` over the forget windows, the last batch of an epoch running on."""
    if settings.get("steps"):
        return settings["steps"]
    return -(-settings["epochs"] * forget_windows // settings["batch_size"])


def retain_index(forget_index: int, epoch: int, forget_size: int, retain_size: int) -> int:
    """The retain window paired with a forget window: (i + epoch * n_f) mod n_r.

    In the first epoch this is the released code's i mod n_r; later epochs go on through the retain set, so that a
    retain set larger than the forget set is used whole.
    """
    return (forget_index + epoch * forget_size) % retain_size


class Reference:
    """The target's outputs on the windows: a table computed once (`cache`), or a resident second model (`model`).

    The table of the retain logits takes 4 * V bytes per retain token: right for small models, not for a 7B one.
    """

    def __init__(self, model, forget: Windows, retain: Windows, method: Method, how: str):
        self.forget, self.retain = forget, retain
        self.model = model if how == "cache" else copy.deepcopy(model).requires_grad_(False)
        self.log_prob_table = self.logit_table = None
        if how == "cache":
            if method.forget_reference:
                self.log_prob_table = self._table(self.log_probs, len(forget))
            if method.retain_reference:
                self.logit_table = self._table(self.logits, len(retain))
            self.model = None

    @staticmethod
    def _table(values: Callable[[list[int]], list[torch.Tensor]], size: int) -> list[torch.Tensor]:
        starts = range(0, size, REFERENCE_BATCH)
        return [row for start in starts for row in values(list(range(start, min(start + REFERENCE_BATCH, size))))]

    @torch.no_grad()
    def log_probs(self, indices: list[int]) -> list[torch.Tensor]:
        """log p_ref(x) of the forget windows `indices`: one scalar each."""
        if self.log_prob_table:
            return [self.log_prob_table[i] for i in indices]
        return list(sequence_log_probs(predict(self.model, [self.forget[i] for i in indices])))

    @torch.no_grad()
    def logits(self, indices: list[int]) -> list[torch.Tensor]:
        """Reference logits of the retain windows `indices`: (predicted tokens of the window, V) each."""
        if self.logit_table:
            return [self.logit_table[i] for i in indices]
        tokens = predict(self.model, [self.retain[i] for i in indices])
        return list(tokens.logits.split(torch.bincount(tokens.sequence).tolist()))


def losses_of_step(
    model, forget: Windows, retain: Windows, method: Method, settings: dict, reference: Reference, pairs: Pairs
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forget loss and retain loss (0 without a retain term) of one step, from one forward pass over both halves.

    pairs: (index of a forget window, index of the retain window paired with it), one for each row of a half.
    """
    chosen, paired = (list(side) for side in zip(*pairs, strict=True))
    windows = [forget[i] for i in chosen]
    if method.constrained:
        windows += [retain[i] for i in paired]
    forget_tokens, retain_tokens = predict(model, windows).split(len(chosen))
    side = Side(forget_tokens)
    if method.forget_reference:
        side.reference_log_probs = torch.stack(reference.log_probs(chosen))
    forget_loss = method.forget(side, settings)
    if not method.constrained:
        return forget_loss, torch.zeros_like(forget_loss)
    side = Side(retain_tokens)
    if method.retain_reference:
        side.reference_logits = torch.cat(reference.logits(paired))
    return forget_loss, method.retain(side, settings)


def unlearn(
    model,
    forget: Windows,
    retain: Windows,
    method: Method,
    settings: dict,
    seed: int,
    report: Callable[[int, float, float], None],
) -> None:
    """Unlearn `forget` in place, keeping `retain` if the method does.

    settings: the method's config entry. `report(step, forget_loss, retain_loss)` hears of every step. AdamW, constant
    learning rate, no weight decay, gradients clipped to norm `max_grad_norm`. Raises RelapseError naming method and
    step at a non-finite loss.
    """
    size = settings["batch_size"]
    steps = steps_of(settings, len(forget))
    order = Order(len(forget), random.Random(seed_for(seed, "unlearn")))
    parameters = list(model.parameters())
    store(parameters, settings["storage"])
    model.eval()  # the reference is the model without dropout
    reference = Reference(model, forget, retain, method, settings["reference"])
    optimizer = torch.optim.AdamW(parameters, lr=settings["lr"], weight_decay=0.0, fused=True)
    model.train()
    for step in range(steps):
        pairs = [
            (index, retain_index(index, (step * size + row) // len(forget), len(forget), len(retain)))
            for row, index in enumerate(order.take(size))
        ]
        forget_loss, retain_loss = losses_of_step(model, forget, retain, method, settings, reference, pairs)
        loss = forget_loss + settings.get("alpha", 0.0) * retain_loss
        if not torch.isfinite(loss):
            raise RelapseError(
                f"{method.name}: the loss became {loss.item()} at step {step + 1} of {steps} "
                f"(forget {forget_loss.item():.4g}, retain {retain_loss.item():.4g}): lower lr, or take fewer steps"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings["max_grad_norm"])
        optimizer.step()
        store(parameters, settings["storage"])
        report(step + 1, forget_loss.item(), retain_loss.item())
    model.eval()
