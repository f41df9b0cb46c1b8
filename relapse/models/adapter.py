"""An adapter of peft in a folder of its own, and the model that it makes of its base: W + (alpha / rank) B A for LoRA.

This module reads adapter_config.json and adapter_model.safetensors; peft merges them in float32.
"""

import json
from pathlib import Path
from typing import Any

import torch

from relapse.models.headers import ADAPTER
from relapse.models.loading import load_model
from relapse.runtime.errors import RelapseError

WEIGHTS = "adapter_model.safetensors"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no whole weights."""
    whole = ("model.safetensors", "model.safetensors.index.json")
    return (folder / ADAPTER).is_file() and not any((folder / name).is_file() for name in whole)


def check(folder: Path) -> None:
    """Raise RelapseError for an adapter that cannot be merged, before anything is loaded."""
    if not (folder / WEIGHTS).is_file():
        others = sorted(path.name for path in folder.glob("adapter_model*"))
        found = f" (it has {', '.join(others)})" if others else ""
        raise RelapseError(f"{folder} is an adapter without {WEIGHTS}{found}: save it as safetensors")
    try:
        kind = json.loads((folder / ADAPTER).read_text(encoding="utf-8")).get("peft_type")
    except (ValueError, AttributeError) as error:
        raise RelapseError(f"{folder / ADAPTER} is no JSON object: {error}") from None
    if kind != "LORA":
        raise RelapseError(f"{folder} is an adapter of type {kind}: only LORA can be merged into a model's weights")


@torch.no_grad()
def merged(folder: Path, base: Path) -> Any:
    """The model of `base` with the adapter of `folder` merged into it, in float32 and not rounded.

    Raises RelapseError for an adapter of another model: layers that the base does not have, other shapes, weights
    that are missing, left over or not finite.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    check(folder)
    weights = load_file(folder / WEIGHTS)
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise RelapseError(f"{folder}: {name} has weights that are not finite (NaN or infinite)")
    try:
        config = PeftConfig.from_pretrained(str(folder))
        adapted = get_peft_model(load_model(base, torch.float32), config)
        report = set_peft_model_state_dict(adapted, weights)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:  # peft's words for what does not fit the model
        reason = " ".join(str(error).split())[:300]
        raise RelapseError(f"the adapter in {folder} does not fit the model in {base}: {reason}") from None
    missing = sorted(name for name in report.missing_keys if ".lora_" in name or ".modules_to_save." in name)
    for names, what in (
        (missing, "lacks"),
        (sorted(report.unexpected_keys), "has weights that the model has no layer for"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise RelapseError(f"the adapter in {folder} does not fit the model in {base}: it {what}: {names[0]}{more}")
    return adapted.merge_and_unload()
