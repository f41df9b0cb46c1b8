"""Scales that a quantizer moves from one layer into the next, and how to take them back.

AWQ multiplies the input channels of a linear layer by s before it rounds them, and divides what produces that input by
s: a norm's weight, or the rows of the linear layer before. The model computes the same, but its matrices are no longer
those of the model that was quantized. The quantizers record the scales that they moved.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

# In a folder of its own: some loaders read every safetensors file that lies beside config.json.
FILE = Path("folding") / "scales.safetensors"


class Folding:
    """For each linear layer, what its columns were multiplied by and what its rows were divided by."""

    def __init__(self) -> None:
        self.columns: dict[str, torch.Tensor] = {}  # weight's name -> (in,)
        self.rows: dict[str, torch.Tensor] = {}  # weight's name -> (out,)

    def add(self, before: str, layers: Sequence[str], scale: torch.Tensor) -> None:
        """Note that the columns of `layers` were multiplied by `scale` (in,) and the output of `before` divided by it.

        Names are those of modules; `before` may be a norm. Where its output is wider than `scale`, as that of a fused
        query-key-value layer, its last rows were divided.
        """
        scale = scale.detach().float().cpu().flatten()
        for layer in layers:
            name = f"{layer}.weight"
            self.columns[name] = self.columns[name] * scale if name in self.columns else scale.clone()
        name = f"{before}.weight"
        self.rows[name] = self.rows[name] * scale if name in self.rows else scale.clone()

    def unfold(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The weight (out, in) on the scale of the model that was quantized, float32."""
        weight = weight.float()
        if name in self.columns:
            weight = weight / self.columns[name]  # (out, in) / (in,)
        if name in self.rows:
            scale = torch.ones(weight.shape[0])
            scale[-len(self.rows[name]) :] = self.rows[name]
            weight = weight * scale.unsqueeze(1)  # (out, in) * (out, 1)
        return weight

    def write(self, folder: str | Path) -> None:
        """Write the scales into a checkpoint's folder."""
        from safetensors.torch import save_file

        path = Path(folder) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = {"columns": self.columns, "rows": self.rows}
        save_file({f"{kind}/{name}": scale for kind, scales in kinds.items() for name, scale in scales.items()}, path)

    @classmethod
    def read(cls, folder: str | Path) -> "Folding":
        """The scales in a checkpoint's folder; none where it has none."""
        from safetensors.torch import load_file

        folding = cls()
        if (Path(folder) / FILE).is_file():
            for key, scale in load_file(Path(folder) / FILE).items():
                kind, name = key.split("/", 1)
                getattr(folding, kind)[name] = scale
        return folding
