"""Quantization-aware unlearning: gradients are those of the rounded model, steps those of the unrounded weights.

The straight-through estimator (arXiv 1308.3432): rounding counts as the identity in the backward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from relapse.quantization import BACKENDS, DataFree, layer_shapes
from relapse.quantization.settings import QuantizerSettings


class StraightThrough:
    """Puts Q(w) in the place of every linear layer's weight while a step's gradients are computed.

    quantizer: an entry of a backend that needs no text; None leaves the weights as they are.
    """

    def __init__(self, model: torch.nn.Module, quantizer: QuantizerSettings | None):
        self.quantizer = quantizer
        layers = layer_shapes(model) if quantizer else ()
        self.weights = [model.get_parameter(f"{layer}.weight") for layer in layers]

    @contextmanager
    def rounded(self) -> Iterator[None]:
        """The rounded model for a moment; afterwards the weights are what they were, to the bit."""
        unrounded = [weight.detach().clone() for weight in self.weights]
        self._round()
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, kept in zip(self.weights, unrounded, strict=True):
                    weight.copy_(kept)

    @torch.no_grad()
    def _round(self) -> None:
        if self.quantizer is None:
            return
        backend = BACKENDS.get(self.quantizer.backend)
        assert isinstance(backend, DataFree)  # checked before the run
        for weight in self.weights:
            weight.copy_(backend.rounded(weight.float(), self.quantizer))
