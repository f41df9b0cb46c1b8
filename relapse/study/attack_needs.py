"""What attacks need of quantizers, models and corpora, checked before anything runs.

Knows that an attack names quantizers and that its text must be there; what an attack does is relapse/attacks/'s.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from relapse.attacks import ATTACKS
from relapse.corpora.corpus import Corpus
from relapse.quantization import BACKENDS, DataFree
from relapse.runtime.errors import ConfigError
from relapse.runtime.registry import did_you_mean

Problem = tuple[tuple[str | int, ...], str]


def problems(
    config: Mapping[str, Any], attacks: Mapping[str, dict], corpora: Mapping[str, Corpus], context: int | None
) -> Iterator[Problem]:
    """What is wrong with sound entries of attacks. corpora: those that are here; context: positions of the models."""
    quantizers = config["quantizers"] if isinstance(config.get("quantizers"), dict) else {}
    for name, entry in attacks.items():
        if name in quantizers:
            yield ("attacks", name), "is a quantizer's name too: both are columns of one table."
        for key in ("under", "quantizer"):
            packed = key == "quantizer" or not ATTACKS.get(entry["attack"]).changes_weights
            if key in entry and (text := _no_quantizer(entry[key], quantizers, packed)):
                yield ("attacks", name, key), text
        try:
            settings = ATTACKS.settings(entry)
        except ConfigError as error:  # what several keys together say
            yield ("attacks", name), f"{error}."
            continue
        if context is not None and entry.get("max_length", 0) > context:
            yield (
                ("attacks", name, "max_length"),
                f"is {entry['max_length']}, must be at most {context}, the models' context (max_position_embeddings).",
            )
        for corpus_name, corpus in corpora.items():
            try:
                ATTACKS.get(entry["attack"]).check(corpus, settings)
            except ConfigError as error:
                yield ("attacks", name), f"corpora.{corpus_name}: {error}."


def _no_quantizer(wanted: str, quantizers: Mapping[str, Any], packed: bool) -> str:
    """Why an attack cannot name this quantizer; '' where it can. packed: its weights may be codes."""
    backends = {
        name: BACKENDS.get(entry["backend"])
        for name, entry in quantizers.items()
        if isinstance(entry, dict) and entry.get("backend") in BACKENDS.names()
    }
    free = [name for name, its in backends.items() if isinstance(its, DataFree) and (packed or not its.packs)]
    if wanted in free:
        return ""
    if wanted in quantizers:
        why = "needs text" if not isinstance(backends.get(wanted), DataFree) else "packs the weights that it changes"
        return f"is {wanted}, which {why}. Allowed: {', '.join(free)}."
    return f"no quantizer is called {wanted!r}.{did_you_mean(wanted, free)} Allowed: {', '.join(free)}."
