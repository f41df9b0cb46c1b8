"""What attacks need of quantizers, models and corpora, checked before anything runs.

This module checks the quantizers that an attack names, and that its text exists.
"""

from collections.abc import Iterator, Mapping

from relapse.attacks import ATTACKS, AttackSettings
from relapse.corpora.corpus import Corpus
from relapse.quantization import BACKENDS, DataFree
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.errors import ConfigError
from relapse.runtime.registry import did_you_mean
from relapse.study.messages import Problem


def problems(
    attacks: Mapping[str, AttackSettings],
    quantizers: Mapping[str, QuantizerSettings],
    corpora: Mapping[str, Corpus],
    context: int | None,
) -> Iterator[Problem]:
    """What is wrong with sound entries of attacks. corpora: those that are here; context: positions of the models."""
    for name, entry in attacks.items():
        attack = ATTACKS.get(entry.attack)
        if name in quantizers:
            yield ("attacks", name), "is a quantizer's name too: both are columns of one table."
        if text := no_quantizer(entry.under, quantizers, packed=not attack.changes_weights):
            yield ("attacks", name, "under"), text
        named = attack.named_quantizer(entry)
        if named is not None and (text := no_quantizer(named, quantizers, packed=True)):
            yield ("attacks", name, "quantizer"), text
        length = getattr(entry, "max_length", 0)
        if context is not None and length > context:
            yield (
                ("attacks", name, "max_length"),
                f"is {length}, must be at most {context}, the models' context (max_position_embeddings).",
            )
        for corpus_name, corpus in corpora.items():
            try:
                attack.check(corpus, entry)
            except ConfigError as error:
                yield ("attacks", name), f"corpora.{corpus_name}: {error}."


def no_quantizer(wanted: str, quantizers: Mapping[str, QuantizerSettings], packed: bool) -> str:
    """Why an attack or a method cannot name this quantizer; '' where it can. packed: its weights may be codes."""
    backends = {name: BACKENDS.get(entry.backend) for name, entry in quantizers.items()}
    free = [name for name, its in backends.items() if isinstance(its, DataFree) and (packed or not its.packs)]
    if wanted in free:
        return ""
    if wanted in quantizers:
        why = "packs the weights that it changes" if isinstance(backends[wanted], DataFree) else "needs text"
        return f"is {wanted}, which {why}. Allowed: {', '.join(free)}."
    return f"no quantizer is called {wanted!r}.{did_you_mean(wanted, free)} Allowed: {', '.join(free)}."
