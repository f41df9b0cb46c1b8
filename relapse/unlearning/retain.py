"""The paper's two retain terms, GDR and KLR, and SURE: what any forget loss can be combined with."""

import dataclasses
from typing import Literal

from pydantic import Field, create_model

from relapse.runtime.settings import Positive
from relapse.unlearning import losses
from relapse.unlearning.methods import METHODS, NOTHING, TOKENS, Method, Side, needs
from relapse.unlearning.saliency import Sure
from relapse.unlearning.settings import MethodSettings


class Constrained(MethodSettings):
    """The keys of a method with a retain term."""

    alpha: Positive = Field(
        description="Weight of the retain term. Here both terms are means over tokens; the paper's known values (1 to "
        "400) belong to its released code, which sums KL over a window."
    )


class Formulated(MethodSettings):
    """The keys of a method that the paper and its released code compute differently."""

    formulation: Literal["paper", "released"] = Field(
        "paper",
        description="The losses as the paper writes them (sequence-level NPO, a proper KL divergence per token), or "
        "as its released code computes them (NPO element-wise on raw logits; kl_div on raw logits, summed over a "
        "window and unbounded; under SURE a proper KL divergence, summed over a window).",
    )


class Klr(Constrained, Formulated):
    """The keys of KLR."""

    kl_direction: Literal["reference_to_model", "model_to_reference"] = Field(
        "reference_to_model",
        description="KL(p_ref || p), as the released SURE has it, or KL(p || p_ref); read by formulation paper.",
    )


def gdr(side: Side, settings: Constrained):
    """GDR: gradient descent on the retain batch, CE(x_r)."""
    return losses.cross_entropy(side.tokens.logits, side.tokens.targets)


def klr(side: Side, settings: Klr):
    """KLR: KL divergence between the reference's and the model's next-token distributions on the retain batch."""
    if settings.formulation == "released":
        return losses.kl_on_logits(side.tokens.logits, side.reference_logits, side.tokens.size)
    return losses.kl_divergence(
        side.tokens.logits.log_softmax(-1), side.reference_logits.log_softmax(-1), settings.kl_direction
    )


def klr_of_sure(side: Side, settings: Klr):
    """KLR under SURE, whose released code normalises both sides where that of the other methods does not."""
    if settings.formulation == "released":
        return losses.kl_by_window(
            side.tokens.logits.log_softmax(-1), side.reference_logits.log_softmax(-1), side.tokens.size
        )
    return klr(side, settings)


def klr_mean(settings: Klr) -> str:
    """What KLR is a mean over, by formulation."""
    return "windows" if settings.formulation == "released" else "tokens"


def _joined(method: Method, *keys: type[MethodSettings]) -> type[MethodSettings]:
    """A class with the method's own keys and `keys`, whose descriptions stand at each."""
    bases = (*keys, method.settings) if method.settings is not MethodSettings else keys
    return create_model("MethodSettings", __base__=bases, __doc__=MethodSettings.__doc__)


def register_family(method: Method) -> None:
    """Register `method` alone, with GDR and with KLR, and each of the three with SURE: NAME, ..., NAME_klr_sure."""
    for base in (method, *constrained(method)):
        register_with_sure(base)


def constrained(method: Method) -> tuple[Method, Method]:
    """NAME_gdr and NAME_klr: the method's forget loss with the paper's two retain terms."""
    return (
        dataclasses.replace(
            method,
            name=f"{method.name}_gdr",
            retain=gdr,
            retain_reference=NOTHING,
            retain_mean=TOKENS,
            settings=_joined(method, Constrained),
        ),
        dataclasses.replace(
            method,
            name=f"{method.name}_klr",
            retain=klr,
            retain_reference=needs("logits"),
            retain_mean=klr_mean,
            settings=_joined(method, Klr),
        ),
    )


def register_with_sure(base: Method) -> None:
    """Register a method, and the same under SURE's masks."""
    METHODS.register(base)
    retain = klr_of_sure if base.retain is klr else base.retain
    METHODS.register(
        dataclasses.replace(base, name=f"{base.name}_sure", retain=retain, settings=_joined(base, Sure), sure=True)
    )
