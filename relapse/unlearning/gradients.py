"""Gradients of a batch that goes through the model in parts: how the parts are weighted and added up."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from relapse.text.windows import predicted


class Shares:
    """What part of a batch's loss some of its rows make up: by predicted tokens, or by windows."""

    def __init__(self, windows: Sequence[Sequence[int]], chosen: Sequence[int], mean: str):
        self.sizes = [predicted(windows[i]) if mean == "tokens" else 1 for i in chosen]

    def __call__(self, rows: Sequence[int]) -> float:
        return sum(self.sizes[row] for row in rows) / sum(self.sizes)


@contextmanager
def added_in_float32(parameters: Sequence[torch.Tensor], parts: int) -> Iterator[None]:
    """Add up what several backward passes give in float32; in the end .grad has it in the parameter's own format.

    Added in bfloat16, a part far smaller than the sum so far would be lost. The sums take four bytes a parameter; a
    part's own gradient is let go as soon as it has been added. Nothing changes for one part, or for float32.
    """
    narrow = [parameter for parameter in parameters if parameter.dtype != torch.float32] if parts > 1 else []
    sums: dict[torch.Tensor, torch.Tensor] = {}

    def take(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None  # it has just been accumulated
        if parameter in sums:
            sums[parameter] += parameter.grad
        else:
            sums[parameter] = parameter.grad.float()
        parameter.grad = None

    hooks = [parameter.register_post_accumulate_grad_hook(take) for parameter in narrow]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    for parameter in narrow:
        if parameter in sums:
            parameter.grad = sums.pop(parameter).to(parameter.dtype)
