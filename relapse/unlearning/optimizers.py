"""Optimisers of an unlearning run: AdamW, AdamW with 8-bit moments, and signSGD."""

from collections.abc import Sequence
from typing import Any

import torch

from relapse.unlearning.settings import MethodSettings

KERNEL: dict[str, dict[str, Any]] = {"adamw_fused": {"fused": True}, "adamw_foreach": {"foreach": True}}


class SignDescent(torch.optim.Optimizer):
    """signSGD (arXiv 1802.04434, Alg. 1): w <- w - lr sign(gradient). It keeps no states."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], lr: float):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad.sign(), alpha=-group["lr"])


def optimizer_of(parameters: Sequence[torch.nn.Parameter], settings: MethodSettings) -> torch.optim.Optimizer:
    """The optimiser that a method's entry asks for."""
    if settings.optimizer == "sign":
        return SignDescent(parameters, settings.lr)
    if settings.optimizer == "adamw_8bit":
        from bitsandbytes.optim import AdamW8bit  # a second of imports, for the runs that use it

        return AdamW8bit(parameters, lr=settings.lr, weight_decay=0.0)
    return torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=0.0, **KERNEL[settings.optimizer])
