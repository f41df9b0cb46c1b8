"""The named methods. One file per forget loss; each registers that loss alone and with the paper's two retain terms.

A method says which losses it adds up and what it needs of the reference model (the target before unlearning). To add
one, put a file here that ends in `METHODS.register(Method(...))`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from relapse.runtime.registry import Registry
from relapse.text.windows import Tokens
from relapse.unlearning.settings import MethodSettings

METHODS = Registry("method", "relapse.unlearning.methods", named_by="method", group="relapse.methods")


@dataclass
class Side:
    """The forget or the retain half of a step: the model's `tokens`, and the reference's values for them.

    reference_log_probs: (tokens.size,) summed over a window; reference_logits: (M, V). Each is None unless the method
    asked for it.
    """

    tokens: Tokens
    reference_log_probs: torch.Tensor | None = None
    reference_logits: torch.Tensor | None = None


Loss = Callable[[Side, Any], torch.Tensor]  # with settings of the method's own class
Need = Callable[[Any], str | None]  # settings -> a word


def needs(value: str | None) -> Need:
    """A term that needs the same of the reference model whatever its settings."""
    return lambda settings: value


NOTHING, TOKENS = needs(None), needs("tokens")


@dataclass(frozen=True)
class Method:
    """A named sum of a forget loss and, for utility-constrained methods, alpha times a retain loss.

    forget, retain: (side, settings) -> scalar. forget_reference, retain_reference: settings -> what the loss needs of
    the reference model: "log_probs" (Side.reference_log_probs), "logits" (Side.reference_logits) or None.
    forget_mean, retain_mean: settings -> what a loss is a mean over, "tokens" or "windows", so that parts of a batch
    can be added up to the whole. settings: the class of its entries, with the keys that the losses read. sure: the
    gradient goes through a mask of `saliency.py`, whose keys are in `settings` too.
    """

    name: str
    forget: Loss
    retain: Loss | None = None
    forget_reference: Need = NOTHING
    retain_reference: Need = NOTHING
    forget_mean: Need = TOKENS
    retain_mean: Need = TOKENS
    settings: type[MethodSettings] = MethodSettings
    sure: bool = False

    @property
    def constrained(self) -> bool:
        """Whether the method has a retain term: one of the paper's utility-constrained methods."""
        return self.retain is not None

    def reference_needs(self, settings: MethodSettings) -> dict[str, str | None]:
        """What the losses need of the reference model: "forget" and "retain" -> "log_probs", "logits" or None."""
        return {"forget": self.forget_reference(settings), "retain": self.retain_reference(settings)}
