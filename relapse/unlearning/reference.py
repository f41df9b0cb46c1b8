"""The reference model's outputs: what NPO, KLR and others compare a model with while it unlearns.

The reference is the target before unlearning. This module computes its outputs and keeps them; the method's losses use
them.
"""

import copy
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from relapse.runtime.batching import BatchSize
from relapse.runtime.errors import RelapseError, disk_is_full
from relapse.text.windows import Tokens, predict, predicted
from relapse.unlearning import lora
from relapse.unlearning.losses import sequence_log_probs
from relapse.unlearning.methods import Method, Side
from relapse.unlearning.settings import MethodSettings

Windows = Sequence[Sequence[int]]
BATCH = 16  # windows in one forward pass of the reference model, at first


class Reference:
    """The target's outputs on the windows: computed once and kept, or from a resident reference (`model`).

    other: windows with the other answers of a method that compares two. seed: the run's. The resident reference is a
    second model, or with LoRA the model itself with its adapters switched off. Kept logits take V values in the model's
    number format per token, and hidden states D: in memory (`cache`) right for small models, for a 7B one on `disk`,
    in a file below TMPDIR that has no name, so that it goes with the process however that ends. A log p_ref(x), one
    number for a window, is always kept. Raises RelapseError where the disk has no room for the table.
    """

    def __init__(
        self,
        model,
        forget: Windows,
        retain: Windows,
        method: Method,
        settings: MethodSettings,
        other: Windows = (),
        seed: int = 0,
    ):
        self.windows = {"forget": forget, "retain": retain, "other": other}
        self.needs, self.block, self.seed = method.reference_needs(settings), method.block(settings), seed
        self.tables: dict[str, Sequence[torch.Tensor]] = {}
        self.model, self.device, self.batch = model, model.device, BatchSize(BATCH)
        self.without_adapters = lora.switched_off if settings.parameters == "lora" else nullcontext
        resident = settings.reference == "model"
        for half, need in self.needs.items():
            if need == "log_probs" or (need and not resident):
                rows = (row.cpu() for start in self._starts(half) for row in self._computed(half, start))
                to_disk = settings.reference == "disk" and need != "log_probs"
                self.tables[half] = self._on_disk(half, rows) if to_disk else list(rows)
        if not resident or not {"logits", "hidden"} & set(self.needs.values()):
            self.model = None
        elif settings.parameters != "lora":
            self.model = copy.deepcopy(model).requires_grad_(False)

    def _starts(self, half: str) -> Iterable[list[int]]:
        return batches(len(self.windows[half]), BATCH)

    def _on_disk(self, half: str, rows: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """The logits (tokens of a window, V) of every window, as views of one file; the system keeps what is in use.

        Or the hidden states (tokens of a window, D).
        """
        tokens = [predicted(window) for window in self.windows[half]]
        width, dtype = self.model.get_output_embeddings().weight.shape[self.needs[half] == "hidden"], self.model.dtype
        with tempfile.NamedTemporaryFile(prefix="relapse-reference-") as file:
            size = sum(tokens) * width
            try:  # all of it now: a page that a full disk refuses later would end the process without a word
                os.posix_fallocate(file.fileno(), 0, size * dtype.itemsize)
            except OSError as error:
                if not disk_is_full(error):
                    raise
                what = "hidden states" if self.needs[half] == "hidden" else "logits"
                raise RelapseError(
                    f"reference: disk needs {size * dtype.itemsize / 1e9:.1f} GB for the {what} of the {half} windows, "
                    f"which {Path(file.name).parent} has not: set TMPDIR to a folder on a larger disk, or use "
                    "reference: model"
                ) from None
            table = torch.from_file(file.name, shared=True, size=size, dtype=dtype).view(-1, width)
        views = list(table.split(tokens))
        for view, row in zip(views, rows, strict=True):
            view.copy_(row)
        return views

    def _computed(self, half: str, indices: Sequence[int]) -> list[torch.Tensor]:
        return self.batch.run(list(indices), lambda chosen: self._forward(half, chosen))

    @torch.no_grad()
    def _forward(self, half: str, indices: Sequence[int]) -> list[torch.Tensor]:
        with self.without_adapters(self.model), evaluating(self.model):
            tokens = predict(self.model, [self.windows[half][i] for i in indices], self.block)
        if self.needs[half] == "log_probs":
            return list(sequence_log_probs(tokens))
        # In the model's own format, which is what they were computed in.
        found = (tokens.hidden if self.needs[half] == "hidden" else tokens.logits).to(self.model.dtype)
        return list(found.split(torch.bincount(tokens.sequence).tolist()))

    @torch.no_grad()
    def _together(self, windows: Windows) -> Tokens:
        with self.without_adapters(self.model), evaluating(self.model):
            return predict(self.model, windows)

    def values(self, half: str, indices: Sequence[int]) -> list[torch.Tensor]:
        """What the method needs for each window, float32: a scalar log p_ref(x), logits (its tokens, V), or hidden (its
        tokens, D).

        A resident reference takes all of them at once: where they do not fit, the step that asks must be made smaller.
        """
        rows = [self.tables[half][i] for i in indices] if half in self.tables else self._forward(half, indices)
        return [row.to(self.device).float() for row in rows]

    def sides(self, tokens: Mapping[str, Tokens], rows: Mapping[str, Sequence[int]]) -> dict[str, Side]:
        """The halves of a step: the model's tokens on the windows `rows`, with the reference's values for them.

        A resident reference sees all halves in one batch, as the model did: logits in bfloat16 depend on a batch's
        shape, and the KL divergence of two equal models would not be 0.
        """
        if self.model is None or "logits" not in (self.needs[half] for half in tokens):
            return {half: self.side(half, tokens[half], rows[half]) for half in tokens}
        windows = [self.windows[half][i] for half in tokens for i in rows[half]]
        rest, sides = self._together(windows), {}
        for half in tokens:
            seen, rest = rest.split(len(rows[half]))
            sides[half] = (
                Side(tokens[half], seed=self.seed, reference_logits=seen.logits)
                if self.needs[half] == "logits"
                else self.side(half, tokens[half], rows[half])
            )
        return sides

    def side(self, half: str, tokens: Tokens, indices: Sequence[int]) -> Side:
        """The model's `tokens` on windows `indices`, with the reference's values for them."""
        need = self.needs[half]
        if not need:
            return Side(tokens, seed=self.seed)
        values = self.values(half, indices)
        joined = torch.stack(values) if need == "log_probs" else torch.cat(values)
        side = Side(tokens, seed=self.seed)
        setattr(side, f"reference_{need}", joined)
        return side


@contextmanager
def evaluating(model) -> Iterator[None]:
    """The model without dropout for a moment, whatever it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def batches(count: int, size: int) -> list[list[int]]:
    """Indices 0 to count - 1 in batches of `size`."""
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]
