"""The loop that unlearns.

Knows the order of windows, what moves, the optimiser and storage; a step's gradients are step.py's, the reference
model's outputs reference.py's, what a step minimises is the method's, and what comes in and goes out is the script's.
"""

import math
import random
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch

from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.batching import BatchSize, attempt
from relapse.runtime.errors import RelapseError
from relapse.runtime.seeds import seed_for
from relapse.text.windows import Order
from relapse.unlearning import lora, saliency
from relapse.unlearning.methods import Method
from relapse.unlearning.negation import Negation
from relapse.unlearning.optimizers import optimizer_of
from relapse.unlearning.reference import Reference, Windows
from relapse.unlearning.region import let_regions_through, regions
from relapse.unlearning.schedule import rate
from relapse.unlearning.settings import MethodSettings
from relapse.unlearning.step import Pairs, at_once, gradients_of_step, mask_of, target_saliency
from relapse.unlearning.storage import RandomBits, Rounding, states, store
from relapse.unlearning.straight_through import StraightThrough


def steps_of(settings: MethodSettings, forget_windows: int) -> int:
    """Number of steps: `steps`, or `epochs` over the forget windows, the last batch of an epoch running on."""
    if settings.steps:
        return settings.steps
    assert settings.epochs is not None  # an entry has one of the two
    return -(-settings.epochs * forget_windows // settings.batch_size)


def retain_index(pairing: str, forget_index: int, epoch: int, forget_size: int, retain_size: int) -> int:
    """The retain window paired with a forget window.

    pairing `fixed`: i mod n_r in every epoch, as the released code has it. `rotating`: (i + epoch * n_f) mod n_r, which
    is the same in the first epoch; later ones go on through the retain set, so that one larger than the forget set is
    used whole.
    """
    return (forget_index + (epoch * forget_size if pairing == "rotating" else 0)) % retain_size


class RetainWeight:
    """Weight of the retain term: alpha, 0 without one, or a dual variable that begins there (PDU).

    The latter grows while the retain loss is above its bound epsilon, and falls to 0 at least while it is below.
    """

    def __init__(self, method: Method, settings: Any):
        self.dual, self.settings = method.dual, settings
        self.value = settings.alpha if method.constrained else 0.0

    def update(self, retain_loss: float) -> None:
        """Take in the retain loss of a step: lambda <- max(0, lambda + dual_lr (retain loss - epsilon))."""
        if self.dual:
            self.value = max(0.0, self.value + self.settings.dual_lr * (retain_loss - self.settings.epsilon))


def moving_parameters(
    model, method: Method, settings: MethodSettings, reference: Reference, seed: int
) -> dict[str, torch.nn.Parameter]:
    """The parameters that may move, all others frozen: what SURE's mask keeps, the method's blocks, or everything.

    With LoRA they move by their adapters, so that only the weights of layers that have one are among them.
    """
    everything = dict(model.named_parameters())
    if isinstance(settings, saliency.Sure) and settings.mask in ("paper", "random"):
        generator = torch.Generator().manual_seed(seed_for(seed, "random mask"))
        scores = target_saliency(model, method, settings, reference)
        moving = saliency.kept_modules(model, scores, settings, generator)
    elif isinstance(settings, saliency.Sure) and settings.mask == "row":
        moving = saliency.eligible(model, settings)
    elif settings.parameters == "lora":
        adapted = [f"{layer}.weight" for layer in lora.adapted_layers(model, settings.lora)]
        return {name: everything[name] for name in in_blocks(adapted, method.trained(settings))}
    else:
        moving = {name: everything[name] for name in in_blocks(everything, method.trained(settings))}
    for name, parameter in everything.items():
        parameter.requires_grad_(name in moving)
    return moving


def in_blocks(names: Iterable[str], blocks: Collection[int] | None) -> list[str]:
    """The names of parameters that lie in one of these blocks, numbered from 0; all of them for None."""
    found = ((name, re.search(r"\.(\d+)\.", name)) for name in names)
    return [name for name, number in found if blocks is None or (number and int(number[1]) in blocks)]


def stepping_parameters(
    model, moving: dict[str, torch.nn.Parameter], settings: MethodSettings, seed: int
) -> list[torch.nn.Parameter]:
    """What the optimiser changes: the moving parameters, or with LoRA the adapters of their layers, added in place."""
    if settings.parameters != "lora":
        return list(moving.values())
    layers = [name.removesuffix(".weight") for name in moving]
    return lora.add(model, layers, settings.lora, seed_for(seed, "adapters"))


class Update:
    """What a step does with the gradients of `parameters`: called with the learning rate, it moves and stores them.

    Adapters are not rounded; they are once merged.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], settings: MethodSettings, random_bits: RandomBits):
        self.parameters, self.state_storage = parameters, settings.state_storage
        self.region, self.optimizer = regions(parameters, settings), optimizer_of(parameters, settings)
        stored = () if settings.parameters == "lora" else parameters
        self.rounding = Rounding(stored, settings.storage, random_bits)

    def __call__(self, lr: float) -> None:
        let_regions_through(self.parameters, self.region)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.rounding()
        store(states(self.optimizer), self.state_storage)


def fitting_gradients(
    micro_batch: BatchSize,
    model,
    method: Method,
    settings: MethodSettings,
    reference: Reference,
    pairs: Pairs,
    parameters: list[torch.nn.Parameter],
    alpha: float,
) -> tuple[float, float]:
    """`gradients_of_step`, with `micro_batch` halved for good as often as it takes to fit into memory."""
    while True:
        losses = attempt(
            gradients_of_step, model, method, settings, reference, pairs, parameters, micro_batch.size, alpha
        )
        if losses is not None:
            return losses
        micro_batch.halve("window")


def finish(model, settings: MethodSettings, negation: Negation | None, random_bits: RandomBits) -> None:
    """Make of a trained model what is saved: negated where the method asks for it, its adapters merged."""
    model.eval()
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_disable()
    if negation:
        negation.apply()
    if settings.parameters == "lora":
        lora.merge(model, settings.storage, random_bits)


def unlearn(
    model,
    forget: Windows,
    retain: Windows,
    method: Method,
    settings: MethodSettings,
    seed: int,
    report: Callable[[int, float, float, float], None],
    stop: Callable[[int], bool] = lambda step: False,
    other: Windows = (),
    quantizer: QuantizerSettings | None = None,
) -> dict:
    """Unlearn `forget` in place, keeping `retain` if the method does.

    settings: the method's entry. seed: the study's and nothing else, so that entries of one seed see the same
    windows in the same order. `report(step, forget_loss, retain_loss, clip)` is called after every step, with what the
    gradient was multiplied by to clip it to norm `max_grad_norm`; `stop(step)` ends the run after a step. other: for
    every forget window its other answer, where the method compares two. quantizer: the entry that
    `quantization_aware` names. No weight decay.
    With `parameters: lora` the steps are those of adapters, which stay in float32 until they are merged in the end.
    Returns the number of `steps` taken and their `limit`, how many parameters were `trained`, the names of the modules
    that were `moving` where a mask of SURE chose them, and where a dual variable (`dual`) ended. A step's batch goes
    through the model `micro_batch` windows of each kind at a time, or half as many, and again half, where memory does
    not hold them.
    Raises RelapseError naming method and step at a non-finite loss.
    """
    random_bits = RandomBits(seed_for(seed, "stochastic rounding"))
    store(model.parameters(), settings.storage, random_bits)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.eval()  # the reference is the model without dropout
    reference = Reference(model, forget, retain, method, settings, other, seed)
    moving = moving_parameters(model, method, settings, reference, seed)
    parameters = stepping_parameters(model, moving, settings, seed)
    negation = Negation(model, parameters, settings, seed) if method.negated else None
    update, straight_through = Update(parameters, settings, random_bits), StraightThrough(model, quantizer)
    weight, micro_batch = RetainWeight(method, settings), at_once(settings)
    step, steps = 0, steps_of(settings, len(forget))
    model.train()
    for step, pairs in enumerate(pairs_of_steps(len(forget), len(retain), settings, seed), 1):
        with straight_through.rounded():
            step_losses = fitting_gradients(
                micro_batch, model, method, settings, reference, pairs, parameters, weight.value
            )
        loss = step_losses[0] + weight.value * step_losses[1]
        where = f"{method.name}: %s at step {step} of {steps}"
        clipped = clip(where, loss, step_losses, parameters, settings.max_grad_norm)
        update(rate(settings, step, steps))
        weight.update(step_losses[1])
        report(step, *step_losses, clipped)
        with negation.shown() if negation else nullcontext():
            stopped = stop(step)
        if stopped:
            break
    finish(model, settings, negation, random_bits)
    trained = sum(parameter.numel() for parameter in parameters)
    chosen = mask_of(settings) in ("paper", "random")
    return {"steps": step, "limit": steps, "trained": trained, "moving": sorted(moving) if chosen else None} | (
        {"dual": weight.value} if method.dual else {}
    )


def pairs_of_steps(forget: int, retain: int, settings: MethodSettings, seed: int) -> Iterator[Pairs]:
    """The window pairs of every step: so many forget windows in an order that follows from the seed alone."""
    size, order = settings.batch_size, Order(forget, random.Random(seed_for(seed, "unlearn")))
    for step in range(steps_of(settings, forget)):
        yield [
            (index, retain_index(settings.retain_pairing, index, (step * size + row) // forget, forget, retain))
            for row, index in enumerate(order.take(size))
        ]


def clip(where: str, loss: float, parts: tuple[float, float], parameters: list, norm: float) -> float:
    """Clip the gradients to a norm; returns their factor. Raises RelapseError where loss or gradient is not finite.

    where: the method and the step, with %s for what is wrong. parts: the forget and the retain loss.
    """
    if not math.isfinite(loss):
        raise RelapseError(
            f"{where % f'the loss became {loss}'} (forget {parts[0]:.4g}, retain {parts[1]:.4g}): lower lr, or take "
            "fewer steps"
        )
    found = torch.nn.utils.clip_grad_norm_(parameters, norm).item()
    if not math.isfinite(found):  # which would make every weight one that is not a number
        what = f"the gradient's norm became {found}"
        raise RelapseError(f"{where % what}, where the loss was finite: lower lr, or take fewer steps")
    return min(1.0, norm / max(found, 1e-30))
