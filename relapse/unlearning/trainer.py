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
from relapse.sequences import Batch, Order, collate, token_logits
from relapse.unlearning.losses import sequence_log_probs
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.storage import store

Windows = Sequence[Sequence[int]]
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
    """The target's outputs on the windows, from a table computed once (`cache`) or a resident model (`model`).

    A cache of the retain logits takes 4 * V bytes per retain token: right for small models, not for a 7B one.
    """

    def __init__(self, model, method: Method, forget: Windows, retain: Windows, how: str):
        self.model = copy.deepcopy(model).requires_grad_(False) if how == "model" else None
        self.method = method
        self.forget = (
            self._table(model, forget, self._log_probs) if method.forget_reference and how == "cache" else None
        )
        self.retain = self._table(model, retain, self._logits) if method.retain_reference and how == "cache" else None

    @torch.no_grad()
    def _table(self, model, windows: Windows, values: Callable) -> list[torch.Tensor]:
        table: list[torch.Tensor] = []
        for start in range(0, len(windows), REFERENCE_BATCH):
            table += values(model, collate(windows[start : start + REFERENCE_BATCH], model.device))
        return table

    @staticmethod
    def _log_probs(model, batch: Batch) -> list[torch.Tensor]:
        """log p_ref(x) of every window: scalars."""
        return list(sequence_log_probs(token_logits(model, batch), batch.targets, batch.sequence, batch.size))

    @staticmethod
    def _logits(model, batch: Batch) -> list[torch.Tensor]:
        """Reference logits of every window: (tokens of the window, V)."""
        sizes = torch.bincount(batch.sequence, minlength=batch.size).tolist()
        return list(token_logits(model, batch).split(sizes))

    @torch.no_grad()
    def log_probs(self, indices: list[int], batch: Batch) -> torch.Tensor | None:
        """(B,) for the forget windows `indices`, or None where the method needs none."""
        if not self.method.forget_reference:
            return None
        rows = [self.forget[i] for i in indices] if self.forget else self._log_probs(self.model, batch)
        return torch.stack(rows)

    @torch.no_grad()
    def logits(self, indices: list[int], batch: Batch) -> torch.Tensor | None:
        """(M, V) for the retain windows `indices`, or None where the method needs none."""
        if not self.method.retain_reference:
            return None
        return torch.cat([self.retain[i] for i in indices]) if self.retain else token_logits(self.model, batch)


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

    settings: the method's config entry. `report(step, forget_loss, retain_loss)` hears of every step. AdamW,
    constant learning rate, no weight decay, gradients clipped to norm `max_grad_norm`. Raises RelapseError naming
    method and step at a non-finite loss.
    """
    size = settings["batch_size"]
    steps = steps_of(settings, len(forget))
    order = Order(len(forget), random.Random(seed_for(seed, "unlearn")))
    parameters = list(model.parameters())
    store(parameters, settings["storage"])
    model.eval()  # the reference is the model without dropout
    reference = Reference(model, method, forget, retain, settings["reference"])
    optimizer = torch.optim.AdamW(parameters, lr=settings["lr"], weight_decay=0.0, fused=True)
    model.train()
    for step in range(steps):
        chosen = order.take(size)
        windows = [forget[i] for i in chosen]
        paired = []
        if method.constrained:
            paired = [
                retain_index(i, (step * size + row) // len(forget), len(forget), len(retain))
                for row, i in enumerate(chosen)
            ]
            windows += [retain[i] for i in paired]
        batch = collate(windows, model.device)
        logits = token_logits(model, batch)
        forget_tokens = batch.sequence < size
        forget_batch = collate(windows[:size], model.device) if reference.model else batch
        side = Side(
            logits[forget_tokens],
            batch.targets[forget_tokens],
            batch.sequence[forget_tokens],
            size,
            reference_log_probs=reference.log_probs(chosen, forget_batch),
        )
        forget_loss = method.forget(side, settings)
        retain_loss = torch.zeros(())
        if method.constrained:
            retain_batch = collate(windows[size:], model.device) if reference.model else batch
            side = Side(
                logits[~forget_tokens],
                batch.targets[~forget_tokens],
                batch.sequence[~forget_tokens] - size,
                size,
                reference_logits=reference.logits(paired, retain_batch),
            )
            retain_loss = method.retain(side, settings)
            loss = forget_loss + settings["alpha"] * retain_loss
        else:
            loss = forget_loss
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
