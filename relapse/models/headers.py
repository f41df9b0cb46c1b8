"""A model folder's config.json, and the headers of its safetensors files: names, shapes, number formats.

No weight is read, and no library is needed.
"""

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

from relapse.runtime.errors import ConfigError

Shapes = dict[str, tuple[int, ...]]
Formats = dict[str, tuple[str, tuple[int, ...]]]  # tensor -> number format in safetensors' words, and shape

ADAPTER = "adapter_config.json"


def read_config(folder: Path) -> dict[str, Any]:
    """A model directory's config.json. Raises ConfigError where there is none."""
    if not folder.is_dir():
        raise ConfigError(f"no such model directory: {folder}")
    _must_be_no_adapter(folder)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is no model directory: it has no config.json")
    return _json_object(folder / "config.json")


def _must_be_no_adapter(folder: Path) -> None:
    """Raise ConfigError for a folder with an adapter's files: alone, or beside weights it would be added to again."""
    if not (folder / ADAPTER).is_file():
        return
    base = _json_object(folder / ADAPTER).get("base_model_name_or_path") or "a model that it does not name"
    if any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")):
        there = sorted(path.name for path in folder.glob("adapter_*"))
        raise ConfigError(
            f"{folder} has an adapter beside whole weights, which would be added to them, perhaps once more: delete "
            f"{' and '.join(there)} if it is merged, or merge it first"
        )
    raise ConfigError(
        f"{folder} is an adapter (LoRA) of {base}, not a model: merge it into that (peft's merge_and_unload), save the "
        "result, and give that folder"
    )


def tensor_shapes(folder: Path) -> Shapes:
    """Shapes of all tensors of a model directory, from the headers of its safetensors files (all shards)."""
    return {name: shape for name, (_, shape) in tensor_formats(folder).items()}


def tensor_formats(folder: Path) -> Formats:
    """Tensor -> its number format in safetensors' words, and its shape."""
    return {name: kind for file in weight_files(folder) for name, kind in _header(file).items()}


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that a model is loaded from. Raises ConfigError where one is missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = _json_object(index).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise ConfigError(f"{index} has no weight_map: it is no index of safetensors shards")
        files = [folder / name for name in sorted(set(map(str, names.values())))]
    else:
        files = [folder / "model.safetensors"]
    missing = [file.name for file in files if not file.is_file()]
    if missing and index.is_file():
        raise ConfigError(f"{folder} lacks weights that {index.name} names: {', '.join(missing)}")
    if missing:
        others = sorted(path.name for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern))
        found = f" (it has {', '.join(others[:5])})" if others else ""
        raise ConfigError(
            f"{folder} has no weights: expected model.safetensors, or model.safetensors.index.json with its shards"
            f"{found}"
        )
    return files


def _header(file: Path) -> Formats:
    """The header of one safetensors file: 8 bytes of length, then JSON, then the data."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size - 8:
                raise ValueError("the header is longer than the file")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        found = {name: (tensor["dtype"], tuple(tensor["shape"])) for name, tensor in header.items()}
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (OSError, struct.error, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is not a safetensors file: {error}") from None
    if size < 8 + length + end:
        raise ConfigError(f"{file} is cut short: {size} bytes of {8 + length + end}")
    empty = [name for name, (_, shape) in found.items() if not prod(shape)]
    if empty:
        raise ConfigError(f"{file}: the tensor {empty[0]} is empty")
    return found


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a JSON object")
    return content
