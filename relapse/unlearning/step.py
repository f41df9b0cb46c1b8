"""One step of unlearning: its losses from one forward pass, and their gradients, a batch in parts where it is large.

This module splits a batch into its halves, adds up means over parts of it, and applies SURE's masks; trainer.py takes
the steps.
"""

import math
from collections.abc import Mapping, Sequence

import torch

from relapse.runtime.batching import BatchSize
from relapse.text.windows import predict
from relapse.unlearning import saliency
from relapse.unlearning.gradients import Shares, added_in_float32
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.reference import Reference, batches
from relapse.unlearning.settings import MethodSettings
from relapse.unlearning.sharpness import moved_along

Pairs = Sequence[tuple[int, int]]


def losses_of_step(
    model, method: Method, settings: MethodSettings, reference: Reference, pairs: Pairs
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forget loss and retain loss (0 without a retain term) of one step, from one forward pass over all halves.

    pairs: (index of a forget window, index of the retain window paired with it), one for each row of a half. The
    windows are the reference's.
    """
    chosen, paired = (list(side) for side in zip(*pairs, strict=True))
    sides = sides_of(model, method, settings, reference, {"forget": chosen, "retain": paired, "other": chosen})
    forget_loss = method.forget(sides["forget"], settings)
    retain_loss = method.retain(sides["retain"], settings) if method.retain else torch.zeros_like(forget_loss)
    return forget_loss, retain_loss


def sides_of(
    model, method: Method, settings: MethodSettings, reference: Reference, rows: Mapping[str, Sequence[int]]
) -> dict[str, Side]:
    """The method's halves, from one forward pass. rows: half -> indices of its windows; without one it is left out."""
    halves = [half for half in method.halves if half in rows]
    windows = [reference.windows[half][i] for half in halves for i in rows[half]]
    rest, tokens = predict(model, windows, method.block(settings)), {}
    for half in halves:
        tokens[half], rest = rest.split(len(rows[half]))
    sides = reference.sides(tokens, rows)
    if "other" in sides:
        sides["forget"].other = sides.pop("other")
    return sides


def at_once(settings: MethodSettings) -> BatchSize:
    """How many windows of each kind go through the model together, at first."""
    return BatchSize(min(settings.micro_batch or settings.batch_size, settings.batch_size))


def target_saliency(model, method: Method, settings: saliency.Sure, reference: Reference) -> torch.Tensor:
    """SURE's s_i (Eq. 4) of every eligible module, (modules,): from the forget loss over all windows.

    Gradients are added up in float32: of hundreds of parts, bfloat16 would lose the late ones.
    """
    weights = list(saliency.eligible(model, settings).values())
    forget = reference.windows["forget"]
    everything = list(range(len(forget)))
    share = Shares(forget, everything, method.forget_mean(settings))

    def gradient(indices: Sequence[int]) -> Sequence[int]:
        add_forget_gradient(gradients, model, method, settings, reference, weights, indices, share(indices))
        return indices

    gradients = zeros_like(weights)
    model.train(settings.gradient_checkpointing)  # transformers keeps no checkpoints in evaluation mode
    at_once(settings).run(everything, gradient)
    model.eval()
    return saliency.module_saliency(gradients)


def add_forget_gradient(
    gradients: Sequence[torch.Tensor],
    model,
    method: Method,
    settings: MethodSettings,
    reference: Reference,
    weights: list,
    indices: Sequence[int],
    share: float,
) -> None:
    """Add to `gradients`, float32, those of the forget loss of some windows, which counts by `share`."""
    sides = sides_of(model, method, settings, reference, {"forget": indices, "other": indices})
    loss = method.forget(sides["forget"], settings) * share
    for total, part in zip(gradients, torch.autograd.grad(loss, weights), strict=True):
        total += part


def mask_of(settings: MethodSettings) -> str | None:
    """SURE's mask that gradients go through; None for other methods."""
    return settings.mask if isinstance(settings, saliency.Sure) else None


def backward(
    losses: tuple[torch.Tensor, torch.Tensor],
    parameters: list,
    method: Method,
    settings: MethodSettings,
    alpha: float,
    forget_gradients: list[torch.Tensor] | None,
) -> None:
    """Add the gradients of forget + alpha * retain to the parameters', and the forget loss's own to `forget_gradients`.

    The latter is what SURE's mask of rows looks at, and what SAM moves along; None for every other run.
    """
    forget_loss, retain_loss = losses
    if forget_gradients is None:
        twice = mask_of(settings) == "released"
        ((2 if twice else 1) * forget_loss + alpha * retain_loss).backward()
        return
    for total, part in zip(
        forget_gradients,
        torch.autograd.grad(forget_loss, parameters, retain_graph=method.constrained),
        strict=True,
    ):
        total += part
    if method.constrained:
        (alpha * retain_loss).backward(inputs=parameters)


def gradients_of_step(
    model,
    method: Method,
    settings: MethodSettings,
    reference: Reference,
    pairs: Pairs,
    parameters: list,
    micro_batch: int,
    alpha: float,
) -> tuple[float, float]:
    """Set the gradients of one step, as SURE's mask lets them through where the method has one; return both losses.

    alpha: weight of the retain loss. The pairs go through the model `micro_batch` at a time. Each part counts by its
    share of what its loss is a mean over, so that they add up to the gradient of the whole batch, whatever
    `micro_batch` is.
    """
    for parameter in parameters:
        parameter.grad = None
    separate = mask_of(settings) == "row" or settings.sam_rho is not None
    forget_gradients = zeros_like(parameters) if separate else None
    chosen, paired = zip(*pairs, strict=True)
    shares = [Shares(reference.windows["forget"], chosen, method.forget_mean(settings))]
    if method.constrained:
        shares.append(Shares(reference.windows["retain"], paired, method.retain_mean(settings)))
    sums, parts = [0.0, 0.0], batches(len(pairs), micro_batch)
    with added_in_float32(parameters, len(parts)):
        for part in parts:
            losses = losses_of_step(model, method, settings, reference, [pairs[row] for row in part])
            weighted = list(losses)
            for place, share in enumerate(shares):
                weighted[place] = losses[place] * share(part)
                sums[place] += weighted[place].item()
            if all(map(math.isfinite, sums)):
                backward((weighted[0], weighted[1]), parameters, method, settings, alpha, forget_gradients)
    if forget_gradients is not None and all(map(math.isfinite, sums)):
        if settings.sam_rho is not None:
            with moved_along(parameters, forget_gradients, settings.sam_rho):
                forget_gradients = zeros_like(parameters)
                for part in parts:
                    indices = [chosen[row] for row in part]
                    add_forget_gradient(
                        forget_gradients, model, method, settings, reference, parameters, indices, shares[0](part)
                    )
        add_to_gradients(parameters, forget_gradients)
        if isinstance(settings, saliency.Sure) and settings.mask == "row":
            saliency.mask_rows(forget_gradients, [one.grad for one in parameters], settings.percentile)
    return sums[0], sums[1]


def zeros_like(parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Sums of gradients, float32, before any."""
    return [torch.zeros_like(parameter, dtype=torch.float32) for parameter in parameters]


def add_to_gradients(parameters: list, gradients: Sequence[torch.Tensor]) -> None:
    """Add gradients, float32, to the parameters' own."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        total = gradient.clone() if parameter.grad is None else parameter.grad + gradient
        parameter.grad = total.to(parameter.dtype)
