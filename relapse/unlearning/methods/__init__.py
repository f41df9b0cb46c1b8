"""The named methods. One file per forget loss; each registers that loss alone and with the paper's two retain terms.

A method names the losses that it adds up and what it needs of the reference model (the target before unlearning). To
add one, put a file here that ends in `METHODS.register(Method(...))`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from relapse.runtime.registry import Registry
from relapse.text.windows import Tokens
from relapse.unlearning.settings import MethodSettings

METHODS: "Registry[Method]" = Registry(
    "method", "relapse.unlearning.methods", named_by="method", group="relapse.methods"
)


Asked = Any  # a tensor where the method has asked for it, else None


@dataclass
class Side:
    """The forget or the retain half of a step: the model's `tokens`, and the reference's values for them.

    reference_log_probs: (tokens.size,) summed over a window; reference_logits: (M, V); reference_hidden: (M, D). Each
    is None unless the method asked for it. other: the same questions with their other answers, where the method
    compares two. seed: the run's, which every draw of a loss must follow from.
    """

    tokens: Tokens
    reference_log_probs: Asked = None
    reference_logits: Asked = None
    reference_hidden: Asked = None
    other: "Side | Any" = None
    seed: int = 0


Loss = Callable[[Side, Any], torch.Tensor]  # with settings of the method's own class
Need = Callable[[Any], Any]  # settings -> what a term needs


def needs(value: Any) -> Need:
    """A term that needs the same whatever its settings."""
    return lambda settings: value


NOTHING, TOKENS = needs(None), needs("tokens")


@dataclass(frozen=True)
class Method:
    """A named sum of a forget loss and, for utility-constrained methods, alpha times a retain loss.

    forget, retain: (side, settings) -> scalar. forget_reference, retain_reference: settings -> what the loss needs of
    the reference model: "log_probs" (Side.reference_log_probs), "logits" (Side.reference_logits), "hidden"
    (Side.reference_hidden) or None. forget_mean, retain_mean: settings -> what a loss is a mean over, "tokens" or
    "windows", so that parts of a batch can be added up to the whole. settings: the class of its entries, with the keys
    that the losses read. sure: the gradient goes through a mask of `saliency.py`, whose keys are in `settings` too.

    answers: the forget text is question/answer pairs, and what is read is not the true answer but "refusals", or
    "alternatives" that the corpus has; with `compared` both are, the true answer as forget side and the other one as
    Side.other. block: settings -> the block, from 0, whose output the losses read (Tokens.hidden), or None. trained:
    settings -> the blocks whose weights move, or None for the whole model. dual: alpha is where a dual variable begins
    that follows the retain loss. negated: the run learns the forget text, and its change is taken from the target.
    copies: of the forget half's logits that the loss holds beside those of a cross-entropy, and of what it needs.
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
    answers: str | None = None
    compared: bool = False
    block: Need = NOTHING
    trained: Need = NOTHING
    dual: bool = False
    negated: bool = False
    copies: int = 0

    @property
    def constrained(self) -> bool:
        """Whether the method has a retain term: one of the paper's utility-constrained methods."""
        return self.retain is not None

    def reference_needs(self, settings: MethodSettings) -> dict[str, str | None]:
        """What the losses need of the reference model: half -> "log_probs", "logits", "hidden" or None.

        The halves are "forget", "retain" and "other", the other answers.
        """
        forget = self.forget_reference(settings)
        return {
            "forget": forget,
            "retain": self.retain_reference(settings),
            "other": forget if self.compared else None,
        }

    @property
    def halves(self) -> tuple[str, ...]:
        """What goes through the model in a step."""
        return ("forget", *["retain"] * self.constrained, *["other"] * self.compared)
