"""The loop that unlearns: forget and retain windows in one forward pass, reference values computed once.

Knows batches, the reference model's cached outputs, the optimiser, storage and when SURE's masks apply; what a step
minimises is the method's, and what comes in and goes out is the script's.
"""

import copy
import math
import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch

from relapse.errors import RelapseError
from relapse.seeding import seed_for
from relapse.sequences import Order, Tokens, predict
from relapse.unlearning import lora, saliency
from relapse.unlearning.losses import sequence_log_probs
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.storage import states, store

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
    """The target's outputs on the windows: a table computed once (`cache`), or a resident reference (`model`).

    The resident one is a second model, or with LoRA the model itself with its adapters switched off. A table of logits
    takes 4 * V bytes per token: right for small models, not for a 7B one.
    """

    def __init__(self, model, forget: Windows, retain: Windows, method: Method, settings: dict):
        self.windows = {"forget": forget, "retain": retain}
        self.needs = {"forget": method.forget_reference(settings), "retain": method.retain_reference(settings)}
        self.tables: dict[str, list[torch.Tensor]] = {}
        self.model = model
        self.without_adapters = lora.switched_off if settings["parameters"] == "lora" else nullcontext
        if settings["reference"] == "model":
            if settings["parameters"] != "lora":
                self.model = copy.deepcopy(model).requires_grad_(False)
            return
        for half in ("forget", "retain"):
            if self.needs[half]:
                chunks = batches(len(self.windows[half]))
                self.tables[half] = [row for indices in chunks for row in self.values(half, indices)]
        self.model = None

    @torch.no_grad()
    def values(self, half: str, indices: list[int]) -> list[torch.Tensor]:
        """What the method needs for each window: a scalar log p_ref(x), or logits (tokens of the window, V)."""
        if half in self.tables:
            return [self.tables[half][i] for i in indices]
        with self.without_adapters(self.model):
            tokens = predict(self.model, [self.windows[half][i] for i in indices])
        if self.needs[half] == "log_probs":
            return list(sequence_log_probs(tokens))
        return list(tokens.logits.split(torch.bincount(tokens.sequence).tolist()))

    def side(self, half: str, tokens: Tokens, indices: list[int]) -> Side:
        """The model's `tokens` on windows `indices`, with the reference's values for them."""
        if self.needs[half] == "log_probs":
            return Side(tokens, reference_log_probs=torch.stack(self.values(half, indices)))
        if self.needs[half] == "logits":
            return Side(tokens, reference_logits=torch.cat(self.values(half, indices)))
        return Side(tokens)


def batches(size: int) -> list[list[int]]:
    """Indices 0 to size - 1 in the batches that the reference model sees."""
    return [list(range(start, min(start + REFERENCE_BATCH, size))) for start in range(0, size, REFERENCE_BATCH)]


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
    forget_loss = method.forget(reference.side("forget", forget_tokens, chosen), settings)
    if not method.constrained:
        return forget_loss, torch.zeros_like(forget_loss)
    return forget_loss, method.retain(reference.side("retain", retain_tokens, paired), settings)


def target_saliency(model, forget: Windows, method: Method, settings: dict, reference: Reference) -> torch.Tensor:
    """SURE's s_i (Eq. 4) of every eligible module, (modules,): from the forget loss over all windows."""
    weights = list(saliency.eligible(model, settings).values())
    gradients = [torch.zeros_like(weight) for weight in weights]
    for indices in batches(len(forget)):
        tokens = predict(model, [forget[i] for i in indices])
        loss = method.forget(reference.side("forget", tokens, indices), settings) * len(indices) / len(forget)
        for gradient, part in zip(gradients, torch.autograd.grad(loss, weights), strict=True):
            gradient += part
    return saliency.module_saliency(gradients)


def moving_parameters(
    model, forget: Windows, method: Method, settings: dict, reference: Reference, seed: int
) -> dict[str, torch.nn.Parameter]:
    """The parameters that may move, all others frozen: what SURE's mask keeps, everything without SURE.

    With LoRA they move by their adapters, so that only the weights of layers that have one are among them.
    """
    everything = dict(model.named_parameters())
    if not method.sure or settings["mask"] == "released":
        if settings["parameters"] == "lora":
            return {
                name: everything[name] for name in (f"{layer}.weight" for layer in lora.adapted_layers(model, settings))
            }
        return everything
    if settings["mask"] == "row":
        moving = saliency.eligible(model, settings)
    else:
        generator = torch.Generator().manual_seed(seed_for(seed, "random mask"))
        scores = target_saliency(model, forget, method, settings, reference)
        moving = saliency.kept_modules(model, scores, settings, generator)
    for name, parameter in everything.items():
        parameter.requires_grad_(name in moving)
    return moving


def backward(losses: tuple[torch.Tensor, torch.Tensor], parameters: list, method: Method, settings: dict) -> None:
    """Set the gradients of forget + alpha * retain, as SURE's mask lets them through where the method has one."""
    forget_loss, retain_loss = losses
    alpha = settings.get("alpha", 0.0)
    mask = settings["mask"] if method.sure else None
    if mask != "row":
        ((2 if mask == "released" else 1) * forget_loss + alpha * retain_loss).backward()
        return
    forget = torch.autograd.grad(forget_loss, parameters, retain_graph=method.constrained)
    total = [gradient.clone() for gradient in forget]
    if method.constrained:
        for gradient, part in zip(total, torch.autograd.grad(alpha * retain_loss, parameters), strict=True):
            gradient += part
    saliency.mask_rows(forget, total, settings["percentile"])
    for parameter, gradient in zip(parameters, total, strict=True):
        parameter.grad = gradient


def unlearn(
    model,
    forget: Windows,
    retain: Windows,
    method: Method,
    settings: dict,
    seed: int,
    report: Callable[[int, float, float], None],
    stop: Callable[[int], bool] = lambda step: False,
) -> dict:
    """Unlearn `forget` in place, keeping `retain` if the method does.

    settings: the method's config entry. `report(step, forget_loss, retain_loss)` hears of every step, `stop(step)` ends
    the run after a step. AdamW, constant learning rate, no weight decay, gradients clipped to norm `max_grad_norm`.
    With `parameters: lora` the steps are those of adapters, which stay in float32 until they are merged in the end.
    Returns the number of `steps` taken, how many parameters were `trained`, and the names of the modules that were
    `moving` where a mask of SURE chose them.
    Raises RelapseError naming method and step at a non-finite loss.
    """
    size = settings["batch_size"]
    steps = steps_of(settings, len(forget))
    order = Order(len(forget), random.Random(seed_for(seed, "unlearn")))
    generator = torch.Generator().manual_seed(seed_for(seed, "stochastic rounding"))
    store(model.parameters(), settings["storage"], generator)
    model.eval()  # the reference is the model without dropout
    reference = Reference(model, forget, retain, method, settings)
    moving = moving_parameters(model, forget, method, settings, reference, seed)
    adapters = settings["parameters"] == "lora"
    if adapters:
        layers = [name.removesuffix(".weight") for name in moving]
        parameters = lora.add(model, layers, settings, seed_for(seed, "adapters"))
    else:
        parameters = list(moving.values())
    optimizer = torch.optim.AdamW(parameters, lr=settings["lr"], weight_decay=0.0, fused=True)
    model.train()
    step = 0
    for step in range(1, steps + 1):
        pairs = [
            (index, retain_index(index, ((step - 1) * size + row) // len(forget), len(forget), len(retain)))
            for row, index in enumerate(order.take(size))
        ]
        losses = losses_of_step(model, forget, retain, method, settings, reference, pairs)
        forget_loss, retain_loss = (loss.item() for loss in losses)
        loss = forget_loss + settings.get("alpha", 0.0) * retain_loss
        if not math.isfinite(loss):
            raise RelapseError(
                f"{method.name}: the loss became {loss} at step {step} of {steps} "
                f"(forget {forget_loss:.4g}, retain {retain_loss:.4g}): lower lr, or take fewer steps"
            )
        optimizer.zero_grad(set_to_none=True)
        backward(losses, parameters, method, settings)
        torch.nn.utils.clip_grad_norm_(parameters, settings["max_grad_norm"])
        optimizer.step()
        if not adapters:
            store(parameters, settings["storage"], generator)
        store(states(optimizer), settings["state_storage"])
        report(step, forget_loss, retain_loss)
        if stop(step):
            break
    model.eval()
    if adapters:
        lora.merge(model, settings["storage"], generator)
    trained = sum(parameter.numel() for parameter in parameters)
    chosen = method.sure and settings["mask"] in ("paper", "random")
    return {"steps": step, "trained": trained, "moving": sorted(moving) if chosen else None}
