"""The reference model's outputs: what NPO and KLR compare a model with while it unlearns.

The reference is the target before unlearning. Knows when its outputs are computed and where they are kept; what a loss
does with them is the method's.
"""

import copy
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from relapse.batching import BatchSize
from relapse.sequences import Tokens, predict
from relapse.unlearning import lora
from relapse.unlearning.losses import sequence_log_probs
from relapse.unlearning.methods import Method, Side

Windows = Sequence[Sequence[int]]
BATCH = 16  # windows in one forward pass of the reference model, at first


class Reference:
    """The target's outputs on the windows: computed once and kept (`cache`, `disk`), or a resident reference (`model`).

    The resident one is a second model, or with LoRA the model itself with its adapters switched off. Kept logits take
    V values in the model's number format per token: in memory right for small models, for a 7B one on disk, in a
    temporary folder below TMPDIR that goes with this object.
    """

    def __init__(self, model, forget: Windows, retain: Windows, method: Method, settings: dict):
        self.windows = {"forget": forget, "retain": retain}
        self.needs = {"forget": method.forget_reference(settings), "retain": method.retain_reference(settings)}
        self.tables: dict[str, Sequence[torch.Tensor]] = {}
        self.model, self.device, self.batch = model, model.device, BatchSize(BATCH)
        self.without_adapters = lora.switched_off if settings["parameters"] == "lora" else nullcontext
        if settings["reference"] == "model":
            if settings["parameters"] != "lora":
                self.model = copy.deepcopy(model).requires_grad_(False)
            return
        self.folder = (
            tempfile.TemporaryDirectory(prefix="relapse-reference-") if settings["reference"] == "disk" else None
        )
        for half in ("forget", "retain"):
            if self.needs[half]:
                rows = (row.cpu() for start in self._starts(half) for row in self._computed(half, start))
                to_disk = self.folder and self.needs[half] == "logits"
                self.tables[half] = self._on_disk(half, rows) if to_disk else list(rows)
        self.model = None

    def _starts(self, half: str) -> Iterable[list[int]]:
        return batches(len(self.windows[half]), BATCH)

    def _on_disk(self, half: str, rows: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """The logits (tokens of a window, V) of every window, as views of one file; the system keeps what is in use."""
        tokens = [len(window) - 1 for window in self.windows[half]]
        width, dtype = self.model.get_output_embeddings().weight.shape[0], self.model.dtype
        path = str(Path(self.folder.name) / half)
        table = torch.from_file(path, shared=True, size=sum(tokens) * width, dtype=dtype).view(-1, width)
        views = list(table.split(tokens))
        for view, row in zip(views, rows, strict=True):
            view.copy_(row)
        return views

    def _computed(self, half: str, indices: Sequence[int]) -> list[torch.Tensor]:
        return self.batch.run(list(indices), lambda chosen: self._forward(half, chosen))

    @torch.no_grad()
    def _forward(self, half: str, indices: Sequence[int]) -> list[torch.Tensor]:
        with self.without_adapters(self.model):
            tokens = predict(self.model, [self.windows[half][i] for i in indices])
        if self.needs[half] == "log_probs":
            return list(sequence_log_probs(tokens))
        # In the model's own format, which is what the logits were computed in.
        return list(tokens.logits.to(self.model.dtype).split(torch.bincount(tokens.sequence).tolist()))

    def values(self, half: str, indices: Sequence[int]) -> list[torch.Tensor]:
        """What the method needs for each window, float32: a scalar log p_ref(x), or logits (its tokens, V)."""
        rows = [self.tables[half][i] for i in indices] if half in self.tables else self._computed(half, indices)
        return [row.to(self.device).float() for row in rows]

    def side(self, half: str, tokens: Tokens, indices: Sequence[int]) -> Side:
        """The model's `tokens` on windows `indices`, with the reference's values for them."""
        if self.needs[half] == "log_probs":
            return Side(tokens, reference_log_probs=torch.stack(self.values(half, indices)))
        if self.needs[half] == "logits":
            return Side(tokens, reference_logits=torch.cat(self.values(half, indices)))
        return Side(tokens)


def batches(count: int, size: int) -> list[list[int]]:
    """Indices 0 to count - 1 in batches of `size`."""
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]
