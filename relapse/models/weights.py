"""The tensors of a model folder as they are stored, without building the model."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from relapse.runtime.errors import RelapseError


def read_tensors(folder: str | Path) -> dict[str, torch.Tensor]:
    """Every tensor of a model directory by name, as it is stored, without building the model."""
    from safetensors.torch import load_file

    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise RelapseError(f"{folder} holds no .safetensors weights")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


class StoredWeights(Mapping[str, torch.Tensor]):
    """The tensors of a model directory by name, in float32, each read when it is asked for.

    So a 7B model is never held whole. transposed: names of those that lie on disk as (in, out) and are given (out, in).
    Raises RelapseError where the directory holds no weights.
    """

    def __init__(self, folder: str | Path, transposed: Sequence[str] = ()):
        from safetensors import safe_open

        files = sorted(Path(folder).glob("*.safetensors"))
        if not files:
            raise RelapseError(f"{folder} holds no .safetensors weights")
        self._files = [safe_open(file, "pt") for file in files]
        self._transposed = frozenset(transposed)
        self._places = {name: file for file in self._files for name in file.keys()}  # noqa: SIM118

    def __getitem__(self, name: str) -> torch.Tensor:
        weight = self._places[name].get_tensor(name).float()
        return weight.T.contiguous() if name in self._transposed else weight

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
