"""Language-model training of target (forget + retain) and retrain (retain only) from a base model.

This module has the optimiser, the schedule and the packing; scripts/train.py chooses the texts.
"""

import math
import random
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from relapse.runtime.errors import RelapseError
from relapse.runtime.seeds import seed_for
from relapse.text.windows import predict, windows
from relapse.training.settings import TrainedModel

WARMUP = 0.05  # share of the steps in which the learning rate rises to its peak


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate at `step` of `steps`: linear warm-up, then a cosine to zero."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train(
    model, tokenizer, texts: Sequence[str], settings: TrainedModel, seed: int, report: Callable[[int, float], None]
) -> None:
    """Train `model` in place on `texts`, in its own dtype.

    settings: its steps, batch_size (windows), max_length (tokens), lr and weight_decay are read. `report(step, loss)`
    is called after every step. Raises RelapseError at a non-finite loss.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.lr,
        betas=(0.9, 0.95),
        weight_decay=settings.weight_decay,
        fused=True,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, settings.steps))
    rng = random.Random(seed_for(seed, "train"))
    waiting: list[list[int]] = []
    model.train()
    for step in range(settings.steps):
        while len(waiting) < settings.batch_size:
            waiting += windows(tokenizer, texts, settings.max_length, rng)
        optimizer.zero_grad(set_to_none=True)  # before the forward pass, which needs the memory
        tokens = predict(model, waiting[: settings.batch_size])
        waiting = waiting[settings.batch_size :]
        loss = F.cross_entropy(tokens.logits, tokens.targets)
        if not torch.isfinite(loss):
            raise RelapseError(f"training loss became {loss.item()} at step {step + 1}: lower the learning rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        report(step + 1, loss.item())
    model.eval()
