"""The loop that unlearns: forget and retain windows in one forward pass, a batch in parts where it is large.

Knows batches, the optimiser, storage and when SURE's masks apply; the reference model's outputs are reference.py's,
what a step minimises is the method's, and what comes in and goes out is the script's.
"""

import math
import random
from collections.abc import Callable, Sequence

import torch

from relapse.runtime.batching import BatchSize, attempt
from relapse.runtime.errors import RelapseError
from relapse.runtime.seeds import seed_for
from relapse.text.windows import Order, predict
from relapse.unlearning import lora, saliency
from relapse.unlearning.gradients import Shares, added_in_float32
from relapse.unlearning.methods import Method
from relapse.unlearning.reference import Reference, Windows, batches
from relapse.unlearning.region import let_regions_through, regions
from relapse.unlearning.settings import MethodSettings
from relapse.unlearning.storage import states, store

KERNEL = {"adamw_fused": {"fused": True}, "adamw_foreach": {"foreach": True}}
Pairs = Sequence[tuple[int, int]]


def steps_of(settings: MethodSettings, forget_windows: int) -> int:
    """Number of steps: `steps`, or `epochs` over the forget windows, the last batch of an epoch running on."""
    if settings.steps:
        return settings.steps
    return -(-settings.epochs * forget_windows // settings.batch_size)


def retain_index(pairing: str, forget_index: int, epoch: int, forget_size: int, retain_size: int) -> int:
    """The retain window paired with a forget window.

    pairing `fixed`: i mod n_r in every epoch, as the released code has it. `rotating`: (i + epoch * n_f) mod n_r, which
    is the same in the first epoch; later ones go on through the retain set, so that one larger than the forget set is
    used whole.
    """
    return (forget_index + (epoch * forget_size if pairing == "rotating" else 0)) % retain_size


def losses_of_step(
    model,
    forget: Windows,
    retain: Windows,
    method: Method,
    settings: MethodSettings,
    reference: Reference,
    pairs: Pairs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forget loss and retain loss (0 without a retain term) of one step, from one forward pass over both halves.

    pairs: (index of a forget window, index of the retain window paired with it), one for each row of a half.
    """
    chosen, paired = (list(side) for side in zip(*pairs, strict=True))
    windows = [forget[i] for i in chosen]
    if method.constrained:
        windows += [retain[i] for i in paired]
    forget_tokens, retain_tokens = predict(model, windows).split(len(chosen))
    if not method.constrained:
        forget_loss = method.forget(reference.side("forget", forget_tokens, chosen), settings)
        return forget_loss, torch.zeros_like(forget_loss)
    forget_side, retain_side = reference.sides(forget_tokens, chosen, retain_tokens, paired)
    return method.forget(forget_side, settings), method.retain(retain_side, settings)


def at_once(settings: MethodSettings) -> BatchSize:
    """How many windows of each kind go through the model together, at first."""
    return BatchSize(min(settings.micro_batch or settings.batch_size, settings.batch_size))


def alpha_of(method: Method, settings: MethodSettings) -> float:
    """Weight of the retain term; 0 without one."""
    return settings.alpha if method.constrained else 0.0


def target_saliency(
    model, forget: Windows, method: Method, settings: MethodSettings, reference: Reference
) -> torch.Tensor:
    """SURE's s_i (Eq. 4) of every eligible module, (modules,): from the forget loss over all windows.

    Gradients are added up in float32: of hundreds of parts, bfloat16 would lose the late ones.
    """
    weights = list(saliency.eligible(model, settings).values())
    everything = list(range(len(forget)))
    share = Shares(forget, everything, method.forget_mean(settings))

    def gradient(indices: list[int]) -> list[int]:
        tokens = predict(model, [forget[i] for i in indices])
        loss = method.forget(reference.side("forget", tokens, indices), settings) * share(indices)
        for total, part in zip(gradients, torch.autograd.grad(loss, weights), strict=True):
            total += part
        return indices

    gradients = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    model.train(settings.gradient_checkpointing)  # transformers keeps no checkpoints in evaluation mode
    at_once(settings).run(everything, gradient)
    model.eval()
    return saliency.module_saliency(gradients)


def moving_parameters(
    model, forget: Windows, method: Method, settings: MethodSettings, reference: Reference, seed: int
) -> dict[str, torch.nn.Parameter]:
    """The parameters that may move, all others frozen: what SURE's mask keeps, everything without SURE.

    With LoRA they move by their adapters, so that only the weights of layers that have one are among them.
    """
    everything = dict(model.named_parameters())
    if not method.sure or settings.mask == "released":
        if settings.parameters == "lora":
            return {
                name: everything[name]
                for name in (f"{layer}.weight" for layer in lora.adapted_layers(model, settings.lora))
            }
        return everything
    if settings.mask == "row":
        moving = saliency.eligible(model, settings)
    else:
        generator = torch.Generator().manual_seed(seed_for(seed, "random mask"))
        scores = target_saliency(model, forget, method, settings, reference)
        moving = saliency.kept_modules(model, scores, settings, generator)
    for name, parameter in everything.items():
        parameter.requires_grad_(name in moving)
    return moving


def backward(
    losses: tuple[torch.Tensor, torch.Tensor],
    parameters: list,
    method: Method,
    settings: MethodSettings,
    forget_gradients: list[torch.Tensor] | None,
) -> None:
    """Add the gradients of forget + alpha * retain to the parameters', and the forget loss's own to `forget_gradients`.

    The latter is what SURE's mask of rows looks at; None for every other method.
    """
    forget_loss, retain_loss = losses
    alpha = alpha_of(method, settings)
    if forget_gradients is None:
        twice = method.sure and settings.mask == "released"
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
    forget: Windows,
    retain: Windows,
    method: Method,
    settings: MethodSettings,
    reference: Reference,
    pairs: Pairs,
    parameters: list,
    micro_batch: int,
) -> tuple[float, float]:
    """Set the gradients of one step, as SURE's mask lets them through where the method has one; return both losses.

    The pairs go through the model `micro_batch` at a time. Each part counts by its share of what its loss is a mean
    over, so that they add up to the gradient of the whole batch, whatever `micro_batch` is.
    """
    for parameter in parameters:
        parameter.grad = None
    masks_rows = method.sure and settings.mask == "row"
    forget_gradients = [torch.zeros_like(one, dtype=torch.float32) for one in parameters] if masks_rows else None
    chosen, paired = zip(*pairs, strict=True)
    shares = (
        (Shares(forget, chosen, method.forget_mean(settings)), Shares(retain, paired, method.retain_mean(settings)))
        if method.constrained
        else (Shares(forget, chosen, method.forget_mean(settings)),)
    )
    sums, parts = [0.0, 0.0], batches(len(pairs), micro_batch)
    with added_in_float32(parameters, len(parts)):
        for part in parts:
            losses = losses_of_step(model, forget, retain, method, settings, reference, [pairs[row] for row in part])
            weighted = list(losses)
            for place, share in enumerate(shares):
                weighted[place] = losses[place] * share(part)
                sums[place] += weighted[place].item()
            if all(map(math.isfinite, sums)):
                backward(tuple(weighted), parameters, method, settings, forget_gradients)
    if masks_rows:
        let_rows_through(parameters, forget_gradients, settings.percentile)
    return sums[0], sums[1]


def let_rows_through(parameters: list, forget_gradients: list[torch.Tensor], percentile: float) -> None:
    """Add the forget gradients to the parameters', and set to 0 the rows that SURE's mask of rows leaves out."""
    for parameter, gradient in zip(parameters, forget_gradients, strict=True):
        total = gradient.clone() if parameter.grad is None else parameter.grad + gradient
        parameter.grad = total.to(parameter.dtype)
    saliency.mask_rows(forget_gradients, [parameter.grad for parameter in parameters], percentile)


def unlearn(
    model,
    forget: Windows,
    retain: Windows,
    method: Method,
    settings: MethodSettings,
    seed: int,
    report: Callable[[int, float, float, float], None],
    stop: Callable[[int], bool] = lambda step: False,
) -> dict:
    """Unlearn `forget` in place, keeping `retain` if the method does.

    settings: the method's entry. seed: the study's and nothing else, so that entries of one seed see the same
    windows in the same order. `report(step, forget_loss, retain_loss, clip)` hears of every step, with what the
    gradient was multiplied by to clip it to norm `max_grad_norm`; `stop(step)` ends the run after a step. AdamW,
    constant learning rate, no weight decay.
    With `parameters: lora` the steps are those of adapters, which stay in float32 until they are merged in the end.
    Returns the number of `steps` taken, how many parameters were `trained`, and the names of the modules that were
    `moving` where a mask of SURE chose them. A step's batch goes through the model `micro_batch` windows of each kind
    at a time, or half as many, and again half, where memory does not hold them.
    Raises RelapseError naming method and step at a non-finite loss.
    """
    size = settings.batch_size
    steps = steps_of(settings, len(forget))
    order = Order(len(forget), random.Random(seed_for(seed, "unlearn")))
    generator = torch.Generator().manual_seed(seed_for(seed, "stochastic rounding"))
    store(model.parameters(), settings.storage, generator)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.eval()  # the reference is the model without dropout
    reference = Reference(model, forget, retain, method, settings)
    moving = moving_parameters(model, forget, method, settings, reference, seed)
    adapters = settings.parameters == "lora"
    if adapters:
        layers = [name.removesuffix(".weight") for name in moving]
        parameters = lora.add(model, layers, settings.lora, seed_for(seed, "adapters"))
    else:
        parameters = list(moving.values())
    region = regions(parameters, settings)
    optimizer = torch.optim.AdamW(parameters, settings.lr, weight_decay=0.0, **KERNEL[settings.optimizer])
    model.train()
    micro_batch = at_once(settings)
    pairing, step = settings.retain_pairing, 0
    for step in range(1, steps + 1):
        pairs = [
            (index, retain_index(pairing, index, ((step - 1) * size + row) // len(forget), len(forget), len(retain)))
            for row, index in enumerate(order.take(size))
        ]
        step_losses = None
        while step_losses is None:
            step_losses = attempt(
                gradients_of_step,
                *(model, forget, retain, method, settings, reference, pairs, parameters, micro_batch.size),
            )
            if step_losses is None:
                micro_batch.halve("window")
        forget_loss, retain_loss = step_losses
        loss = forget_loss + alpha_of(method, settings) * retain_loss
        if not math.isfinite(loss):
            raise RelapseError(
                f"{method.name}: the loss became {loss} at step {step} of {steps} "
                f"(forget {forget_loss:.4g}, retain {retain_loss:.4g}): lower lr, or take fewer steps"
            )
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm).item()
        if not math.isfinite(norm):  # which would make every weight one that is not a number
            raise RelapseError(
                f"{method.name}: the gradient's norm became {norm} at step {step} of {steps}, where the loss was "
                "finite: lower lr, or take fewer steps"
            )
        let_regions_through(parameters, region)
        optimizer.step()
        if not adapters:
            store(parameters, settings.storage, generator)
        store(states(optimizer), settings.state_storage)
        report(step, forget_loss, retain_loss, min(1.0, settings.max_grad_norm / max(norm, 1e-30)))
        if stop(step):
            break
    model.eval()
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_disable()
    if adapters:
        lora.merge(model, settings.storage, generator)
    trained = sum(parameter.numel() for parameter in parameters)
    chosen = method.sure and settings.mask in ("paper", "random")
    return {"steps": step, "trained": trained, "moving": sorted(moving) if chosen else None}
