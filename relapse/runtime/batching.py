"""Batches that shrink until they fit: how many examples go through a model at once.

When an accelerator is out of memory, the batch is halved. The caller must make sure that results do not depend on the
batch beyond rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from relapse.runtime.errors import RelapseError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class BatchSize:
    """Number of examples in one forward pass; halves itself, for good, when they do not fit into memory."""

    size: int

    def halve(self, what: str) -> None:
        """Half as many from now on. Raises RelapseError where not even one fits."""
        if self.size == 1:
            raise RelapseError(
                f"out of memory with one {what} at a time: use a GPU with more memory, or one that no other process "
                "uses; shorter windows or prompts, compute: bfloat16 and, for unlearning, gradient_checkpointing, "
                "parameters: lora or reference: disk take less"
            )
        self.size //= 2
        print(f"out of memory: {self.size} {what}{'' if self.size == 1 else 's'} at a time from here on", flush=True)
        torch.cuda.empty_cache()

    def run(self, items: Sequence[Item], action: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
        """`action` on batches of `items`, its results one after the other; a batch that does not fit is run again."""
        results: list[Result] = []
        while len(results) < len(items):
            batch = items[len(results) : len(results) + self.size]
            found = attempt(action, batch)
            if found is None:
                self.size = len(batch)  # which may be fewer than could have been
                self.halve("example")
            else:
                results += found
        return results


def attempt(action: Callable[..., Result], *arguments: object) -> Result | None:
    """What `action` returns; None where the accelerator is out of memory, for tensors or for cuBLAS's own.

    The exception ends here, so that what its frames held is free before anything is tried again.
    """
    try:
        return action(*arguments)
    except torch.OutOfMemoryError:
        return None
    except RuntimeError as error:
        if "CUBLAS_STATUS_ALLOC_FAILED" not in str(error):
            raise
        return None
