"""Adapters merged into the model that they belong to, once there is memory for it: written to a folder like any model.

What merging comes to is models/adapter.py's; what an adapter is merged into, and for what, its users know.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from relapse.models import adapter, matching, stored
from relapse.models.headers import ADAPTER, tensor_formats
from relapse.models.loading import load_tokenizer
from relapse.models.saving import save
from relapse.planning import fit, memory
from relapse.runtime.errors import ConfigError

NUMBERS = {"BF16": torch.bfloat16, "F16": torch.float16}  # safetensors' words; any other, or several: float32


def merge(origin: Path, base: Path, folder: Path, facts: dict[str, Any], dtype: torch.dtype) -> None:
    """Write the model in `base` with the adapter in `origin` merged into it: in float32, rounded once to `dtype`.

    facts: what training.json keeps. Raises RelapseError for an adapter of another model, and for too little memory.
    """
    if shape := fit.architecture(base):
        fit.require(memory.loading(shape, 4), f"merging {origin}", "Use a machine with more memory.", False)
    model = adapter.merged(origin, base)
    facts = facts | {"origin": str(origin), "merged_into": str(base)}
    save(model, load_tokenizer(base), folder, facts, dtype)


def base_of(folder: Path) -> Path:
    """The model that an adapter's adapter_config.json names. Raises ConfigError where it names no folder of a model."""
    adapter.check(folder)
    named = json.loads((folder / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not named or not (Path(named) / "config.json").is_file():
        raise ConfigError(
            f"{folder} is an adapter of {named or 'a model that it does not name'}, which is no folder of a model on "
            "this machine: give --base DIR"
        )
    return Path(named)


@contextmanager
def whole(folders: Sequence[Path], base: Path | None = None) -> Iterator[list[Path]]:
    """The folders, and for those with an adapter alone a temporary one (below TMPDIR) with the merged model.

    base: what adapters are merged into, by default what each names. Weights are rounded to the number format that the
    base's are stored in, so that those without an adapter stay as they are. Raises as `merge` does, and for a base that
    has other tokens than an adapter that brings a tokenizer.
    """
    with tempfile.TemporaryDirectory(prefix="relapse-merged-") as scratch:
        found = []
        for place, folder in enumerate(folders):
            if adapter.is_adapter(folder):
                into = base or base_of(folder)
                adapter.check(folder)
                stored.check(into)
                matching.must_have_tokens(into, folder)
                (kind, *others) = {kind for kind, _ in tensor_formats(into).values()}
                dtype = torch.float32 if others else NUMBERS.get(kind, torch.float32)
                merged = Path(scratch) / str(place)
                merge(folder, into, merged, {}, dtype)
                found.append(merged)
            else:
                found.append(folder)
        yield found
