"""Full precision: the model as it is, the column of every table that the quantized ones are compared with."""

from pathlib import Path
from typing import Any, ClassVar

import torch

from relapse.quantization import BACKENDS, DataFree


class Full(DataFree):
    """Changes nothing; `load` only widens the stored bfloat16 weights to the computing dtype."""

    name = "full"
    options: ClassVar = {}
    examples = ({},)

    def load(self, model_dir: str | Path, settings: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
        from relapse.models.loading import load_model

        return load_model(model_dir, dtype=dtype)

    def rounded(self, weight: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
        return weight.float()


BACKENDS.register(Full())
