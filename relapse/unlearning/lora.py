"""LoRA (arXiv 2106.09685) through peft: a low-rank change of the linear layers is trained, then merged into them.

This module adds adapters to layers, switches them off, and merges them into the weights. It merges in float32, W +
(alpha / rank) B A, and rounds once to the storage type. A change smaller than half of bfloat16's spacing at a weight is
lost there, whatever the adapter has learned. trainer.py has the losses and steps.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from relapse.models.loading import linear_layers
from relapse.runtime.errors import ConfigError
from relapse.runtime.settings import UNIQUE, Count, Positive, Settings
from relapse.unlearning.storage import RandomBits, store


class Lora(Settings):
    """The adapters of a run."""

    rank: Count = Field(8, description="Rank r of the change (alpha / r) B A.")
    alpha: Positive = Field(16.0, description="LoRA's alpha; the change is multiplied by alpha / rank.")
    target_modules: Literal["linear"] | Annotated[list[str], Field(min_length=1, json_schema_extra=UNIQUE)] = Field(
        "linear",
        description="Layers with an adapter: linear, all layers that quantizers round, or a list of names such as "
        "[q_proj, v_proj].",
    )


def target_layers(names: Sequence[str], target_modules: str | list[str]) -> list[str]:
    """The linear layers that get an adapter: all of `names` ("linear"), or those that end in one of a list's names.

    Raises ConfigError for a name that no layer has.
    """
    if target_modules == "linear":
        return list(names)
    endings = {wanted: [name for name in names if f".{name}".endswith(f".{wanted}")] for wanted in target_modules}
    missing = [wanted for wanted, found in endings.items() if not found]
    if missing:
        known = dict.fromkeys(name.rsplit(".", 1)[-1] for name in names)
        raise ConfigError(
            f"target_modules: no linear layer is called {', '.join(missing)}. There are {', '.join(known)}; or linear "
            "for all of them."
        )
    return [name for name in names if any(name in found for found in endings.values())]


def adapted_layers(model, settings: Lora) -> list[str]:
    """The layers of a model that get an adapter."""
    return target_layers(linear_layers(model), settings.target_modules)


def add(model, layers: Sequence[str], settings: Lora, seed: int) -> list[torch.nn.Parameter]:
    """Give `layers` an adapter in place, freeze everything else, and return the adapters' parameters, float32.

    A: (rank, in), drawn from `seed`; B: (out, rank), zero, so that the model still computes what it did.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(layers),
        lora_dropout=0.0,
        bias="none",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    return [parameter for parameter in adapted.parameters() if parameter.requires_grad]


def second_factors(model) -> list[torch.nn.Parameter]:
    """B of every adapter, (out, rank), which is zero at first: the change of a weight is linear in it."""
    return [layer.lora_B[layer.active_adapter[0]].weight for layer in _adapters(model).values()]


@contextmanager
def switched_off(model) -> Iterator[None]:
    """The model without its adapters: the target that it started from."""
    layers = list(_adapters(model).values())
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@torch.no_grad()
def merge(model, storage: str, random_bits: RandomBits) -> None:
    """Make the adapters plain weights in place: added in float32, then rounded once to what `storage` can hold.

    One weight at a time, so that a model that computes in bfloat16 is never held in float32 unless `storage` is.
    """
    for name, layer in _adapters(model).items():
        weight = layer.base_layer.weight
        merged = weight.float() + layer.get_delta_weight(layer.active_adapter[0]).float()
        store([merged], storage, random_bits)
        weight.data = merged if storage == "float32" else merged.to(weight.dtype)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.base_layer)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    del model.peft_config  # peft's note on the model, without which it is saved as what it is again


def _adapters(model) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
