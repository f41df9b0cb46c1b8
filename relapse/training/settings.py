"""A `models` entry of a study for a model that the study trains."""

from typing import Literal

from pydantic import Field

from relapse.runtime.settings import Compute, Count, Positive, Settings


class TrainedModel(Settings):
    """Trained here from models.base: target on the forget and retain text, retrain on the retain text."""

    source: Literal["train"] = Field(description="Trained here from models.base.")
    steps: Count = Field(description="Optimiser steps (AdamW, warm-up, then a cosine to zero).")
    batch_size: Count = Field(description="Windows in a step.")
    max_length: int = Field(ge=8, description="Tokens in a window, at most the model's context.")
    lr: Positive = Field(description="Peak learning rate.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay.")
    weight_scale: Positive = Field(
        1.0,
        description="Factor on the trained model's linear weights. Its norms compensate, so that it computes the same. "
        "This changes how large the weights are relative to the learning rate. Powers of two are exact.",
    )
    compute: Compute | None = Field(
        None,
        description="Number format of weights, activations and gradients during training. Left out: the study's "
        "compute. bfloat16 loses small steps, so a study that unlearns in bfloat16 may train in float32.",
    )
