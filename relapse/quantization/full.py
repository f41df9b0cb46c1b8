"""Full precision: the model as it is, the column of every table that the quantized ones are compared with."""

from pathlib import Path
from typing import Any

import torch

from relapse.quantization import BACKENDS, DataFree
from relapse.quantization.settings import QuantizerSettings


class Full(DataFree):
    """Changes nothing; `load` only widens the stored bfloat16 weights to the computing dtype."""

    name = "full"
    settings = QuantizerSettings
    examples = ({},)

    def load(self, model_dir: str | Path, settings: QuantizerSettings, dtype: torch.dtype = torch.float32) -> Any:
        from relapse.models.loading import load_model

        return load_model(model_dir, dtype=dtype)

    def rounded(self, weight: torch.Tensor, settings: QuantizerSettings) -> torch.Tensor:
        return weight.float()


BACKENDS.register(Full())
