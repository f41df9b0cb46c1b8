"""SparseGPT (arXiv 2301.00774) through llm-compressor: the weights that matter least become zero, others change.

In every block of columns those with the smallest w_j^2 / [H_j^-1]_jj go, and the columns to come take their error, H_j
being the Hessian of a layer's output error on the calibration text over column j and those to come.
"""

from typing import Any

import torch
from pydantic import Field

from relapse.quantization import BACKENDS
from relapse.quantization.pruner import Pruner, PrunerSettings
from relapse.runtime.errors import RelapseError
from relapse.runtime.settings import Positive


class SparseGPTSettings(PrunerSettings):
    """A quantizer of this backend."""

    dampening: Positive = Field(0.01, description="Share of the Hessian's mean diagonal that is added to its diagonal.")


class SparseGPT(Pruner):
    """llm-compressor's SparseGPTModifier, in its blocks of 128 columns."""

    name = "sparsegpt"
    settings = SparseGPTSettings
    examples = ({"share": 0.1}, {"share": 0.3, "dampening": 0.05})

    def modifier(self, settings: SparseGPTSettings, layers: list[str]) -> Any:
        from llmcompressor.modifiers.pruning.sparsegpt import SparseGPTModifier

        class Strict(SparseGPTModifier):
            def compress_modules(self) -> None:
                # llm-compressor would go on with the identity for a Hessian, and report it in its log alone.
                for module, hessian in self._hessians.items():
                    if not invertible(hessian, settings.dampening):
                        name = self._module_names[module].rstrip(".")
                        raise RelapseError(
                            f"SparseGPT cannot invert the Hessian of {name}: raise dampening above "
                            f"{settings.dampening}, or calibrate on more text (samples)"
                        )
                super().compress_modules()

        return Strict(sparsity=settings.share, dampening_frac=settings.dampening, targets=layers)


def invertible(hessian: torch.Tensor, dampening: float) -> bool:
    """Whether both Cholesky factors of the inverse (in, in) exist, with `dampening` added to the diagonal."""
    diagonal = hessian.diagonal()
    diagonal = torch.where(diagonal == 0, 1.0, diagonal)  # of an input that is always 0
    damped = hessian.clone()
    damped.diagonal().copy_(diagonal + dampening * diagonal.mean())
    factor, failed = torch.linalg.cholesky_ex(damped)
    return not failed and not torch.linalg.cholesky_ex(torch.cholesky_inverse(factor), upper=True).info


BACKENDS.register(SparseGPT())
