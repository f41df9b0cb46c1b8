"""A model made elsewhere, its weights rounded to bfloat16, which is what target and retrain rest in.

So absorption, which reads weights from disk, and quantizers that compute in float32 see what the methods start from. It
rewrites safetensors files, their index and config.json, one file at a time, without building the model.
"""

import json
from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch

from relapse.runtime import disk_space

INDEX = "model.safetensors.index.json"
# safetensors' names of the number formats that are rounded, and torch's.
ROUNDED = {"F64": "float64", "F32": "float32", "F16": "float16"}


def to_round(files: Sequence[Path]) -> dict[Path, list[str]]:
    """The .safetensors among `files` that hold floating-point numbers of other formats -> the names of those."""
    found = {}
    for file in (file for file in files if file.suffix == ".safetensors"):
        formats = {dtype for dtype, _ in _tensors(file).values()} & ROUNDED.keys()
        if formats:
            found[file] = sorted(ROUNDED[dtype] for dtype in formats)
    return found


def size(file: Path) -> int:
    """Bytes of a .safetensors file's weights in bfloat16."""
    return sum(2 * count for _, count in _tensors(file).values())


def require_room(files: Sequence[Path], folder: Path) -> None:
    """Raise RelapseError where the disk of `folder` has no room for copies of `files` in bfloat16."""
    what, instead = "a copy of the weights in bfloat16", "run from a folder on a larger disk"
    disk_space.require_room(sum(map(size, files)), folder, what, instead)


def write_rounded(source: Path, to: Path) -> int:
    """Copy a .safetensors file with its floating-point numbers rounded to bfloat16. Returns the bytes saved."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    tensors, saved = {}, 0
    with safe_open(source, "pt") as stored:
        for name in stored.keys():  # noqa: SIM118
            tensor = stored.get_tensor(name)
            wide = tensor.dtype in (torch.float64, torch.float32, torch.float16)
            tensors[name] = tensor.to(torch.bfloat16 if wide else tensor.dtype, copy=True)
            saved += tensor.nbytes - tensors[name].nbytes
        metadata = stored.metadata()
    save_file(tensors, to, metadata)
    return saved


def write_index(source: Path, to: Path, saved: int) -> None:
    """Copy the index of the shards, with the size that they have now: `saved` bytes less."""
    index = json.loads(source.read_text(encoding="utf-8"))
    if "total_size" in index.get("metadata", {}):
        index["metadata"]["total_size"] -= saved
    to.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def write_config(source: Path, to: Path) -> None:
    """Copy a config.json, with bfloat16 as its number format: under `dtype`, older ones under `torch_dtype`."""
    config = json.loads(source.read_text(encoding="utf-8"))
    keys = [key for key in ("dtype", "torch_dtype") if key in config] or ["dtype"]
    to.write_text(json.dumps(config | dict.fromkeys(keys, "bfloat16"), indent=2) + "\n", encoding="utf-8")


def _tensors(file: Path) -> dict[str, tuple[str, int]]:
    """Tensor name -> its number format in safetensors' words, and how many numbers it holds."""
    from safetensors import safe_open

    with safe_open(file, "pt") as stored:
        slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
        return {name: (part.get_dtype(), prod(part.get_shape())) for name, part in slices.items()}
