"""Counterfactual weights: what of a quantizer's effect on an unlearned model is the lost update, and what is noise.

With t the target's weights, u the unlearned model's and Q a quantizer, the linear layers get, by `part`:

- `update`: t + Q(u) - Q(t), the quantized update on exact weights: no rounding noise, but what rounding does to u - t;
- `noise`: Q(t) + u - t, the whole update on quantized weights: all of the noise, and nothing of the update lost;
- `survived`: u, with every weight of which Q(u) = Q(t) put back to t: the update without its absorbed part;
- `absorbed`: t, with these weights alone moved to u: the absorbed part of the update.

Q(u) = Q(t) + (Q(u) - Q(t)): the quantized model has what `update` has, and the noise of Q(t). The last two are not
quantized at all. The target itself comes out as t, Q(t), t and t. What quantizers leave alone is the unlearned model's.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from relapse.quantization import BACKENDS, Compared, DataFree, layer_shapes
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.errors import ConfigError


class CounterfactualSettings(QuantizerSettings):
    """A quantizer of this backend."""

    quantizer: dict[str, Any] = Field(
        description="The quantizer whose effect is split: an entry such as {backend: rtn, bits: 4, group_size: 128}, "
        "of a backend that needs only the weights."
    )
    part: Literal["update", "noise", "survived", "absorbed"] = Field(
        description="With target t, unlearned model u and quantizer Q. update: t + Q(u) - Q(t). noise: Q(t) + u - t. "
        "survived: u, except weights with Q(u) = Q(t), which have t's value. absorbed: t, except these weights, which "
        "have u's value."
    )


def counterfactual(before: Tensor, after: Tensor, rounded_before: Tensor, rounded_after: Tensor, part: str) -> Tensor:
    """The weights of `part`, (out, in) float32, from t, u, Q(t) and Q(u) of the same shape."""
    if part == "update":
        return before + (rounded_after - rounded_before)
    if part == "noise":
        return rounded_before + (after - before)
    absorbed = rounded_after == rounded_before
    return torch.where(absorbed, before, after) if part == "survived" else torch.where(absorbed, after, before)


class Counterfactual(Compared):
    """One part of another quantizer's effect; the target's weights are read one matrix at a time."""

    name = "counterfactual"
    settings = CounterfactualSettings
    examples = tuple(
        {"quantizer": {"backend": "rtn", "bits": 4, "group_size": 64}, "part": part}
        for part in ("update", "noise", "survived", "absorbed")
    )

    def taken_apart(self, settings: CounterfactualSettings) -> tuple[DataFree, QuantizerSettings]:
        """The backend and the settings of `quantizer`. Raises ConfigError where that does not round weights alone."""
        entry = settings.quantizer
        if not isinstance(entry.get("backend"), str):
            raise ConfigError("quantizer: write a quantizer's entry, with its backend")
        backend = BACKENDS.get(entry["backend"])
        if not isinstance(backend, DataFree):
            raise ConfigError(f"quantizer: {backend.name} does not look at weights alone: use rtn or bitsandbytes")
        try:
            return backend, BACKENDS.settings(entry)
        except ConfigError as error:
            raise ConfigError(f"quantizer: {error}") from None

    def check(self, shapes: dict[str, tuple[int, int]], settings: CounterfactualSettings) -> None:
        backend, entry = self.taken_apart(settings)
        backend.check(shapes, entry)

    @torch.no_grad()
    def load(
        self,
        model_dir: str | Path,
        settings: CounterfactualSettings,
        dtype: torch.dtype = torch.float32,
        target_dir: str | Path | None = None,
    ) -> Any:
        from relapse.models.loading import load_model
        from relapse.models.weights import StoredWeights

        if target_dir is None:
            raise ConfigError(f"{self.name} compares a model with the target: name the target's folder")
        backend, entry = self.taken_apart(settings)
        model = load_model(model_dir, dtype=dtype)
        shapes = layer_shapes(model)
        backend.check(shapes, entry)
        target = StoredWeights(target_dir)
        for name in shapes:
            weight = model.get_submodule(name).weight
            before, after = target[f"{name}.weight"].to(weight.device), weight.float()
            rounded_before, rounded_after = (backend.rounded(matrix, entry) for matrix in (before, after))
            weight.copy_(counterfactual(before, after, rounded_before, rounded_after, settings.part))
        return model


BACKENDS.register(Counterfactual())
