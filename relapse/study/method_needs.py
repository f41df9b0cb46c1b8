"""What methods need of the corpora and of the model, checked before anything runs.

This module checks methods that read question/answer pairs or a block's output, and adapters. preflight.py makes all
other checks that need files.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from relapse.corpora.corpus import PAIRS_FILE, Corpus
from relapse.models.files import Model
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.errors import ConfigError
from relapse.study.attack_needs import no_quantizer
from relapse.study.messages import Problem
from relapse.unlearning.answers import check_pairs
from relapse.unlearning.lora import target_layers
from relapse.unlearning.methods import METHODS
from relapse.unlearning.saliency import Sure
from relapse.unlearning.settings import MethodSettings


def problems(
    methods: Mapping[str, MethodSettings],
    quantizers: Mapping[str, QuantizerSettings],
    corpora: Mapping[str, Corpus],
    hub: Mapping[str, Any],
    origin: str,
    model: Model,
) -> Iterator[Problem]:
    """What is wrong with sound entries of methods.

    corpora: those that are here; hub: name -> source of those of which nothing but this is known. origin: the models
    entry that the target has its shape from; model: what is known of it.
    """
    for name, entry in methods.items():
        method = METHODS.get(entry.method)
        for corpus, its in corpora.items():
            try:
                check_pairs(its, method)
            except ConfigError as error:
                yield ("methods", name), f"corpora.{corpus}: {error}."
        for corpus, source in hub.items():
            if method.answers and not source.has_pairs:
                text = f"{method.name} needs {PAIRS_FILE}, which {source.name}'s data sets on the Hub lack."
                yield ("methods", name), f"corpora.{corpus}: {text}"
        yield from _adapters(name, entry, origin, model)
        yield from _defences(name, entry, quantizers)
        block, shape = method.block(entry), model.architecture
        if block is not None and shape and block > shape.layers - 2:
            yield (
                ("methods", name, "block"),
                f"is {block}, must be at most {shape.layers - 2}: models.{origin} has {shape.layers} blocks, and none "
                "reads the last one.",
            )


def _defences(name: str, entry: MethodSettings, quantizers: Mapping[str, QuantizerSettings]) -> Iterator[Problem]:
    """Defences that cannot be had together, and quantizers that a run cannot be aware of."""
    named = entry.quantization_aware
    if named is not None and (text := no_quantizer(named, quantizers, packed=True)):
        yield ("methods", name, "quantization_aware"), text
    if named is not None and entry.parameters == "lora":
        text = "must be left out with parameters: lora, whose adapters are rounded once, when they are merged."
        yield ("methods", name, "quantization_aware"), text
    if entry.sam_rho is not None and isinstance(entry, Sure) and entry.mask == "released":
        text = "must be left out with mask: released, which counts the forget gradient twice."
        yield ("methods", name, "sam_rho"), text
    if entry.optimizer == "adamw_8bit" and entry.state_storage != "float32":
        text = "is bfloat16, must be left out with optimizer: adamw_8bit, which keeps its moments in 8 bits."
        yield ("methods", name, "state_storage"), text


def _adapters(name: str, entry: MethodSettings, origin: str, model: Model) -> Iterator[Problem]:
    """LoRA where it has no meaning: masks of rows, masks of what has no adapter, layers that there are not."""
    if entry.parameters != "lora":
        return
    if entry.region != "all":
        yield ("methods", name, "region"), "must be all with parameters: lora, whose steps are those of adapters."
    if isinstance(entry, Sure) and entry.mask == "row":
        yield (
            ("methods", name, "mask"),
            "is row, must be one of paper, released, random with parameters: lora: an adapter's A is shared by all "
            "rows of a weight, so that no row can be left out.",
        )
    if isinstance(entry, Sure) and entry.modules == "all" and entry.mask != "released":
        yield (
            ("methods", name, "modules"),
            "is all, must be linear with parameters: lora: embeddings and norms have no adapter.",
        )
    if not model.linear:
        return
    try:
        adapted = target_layers(list(model.linear), entry.lora.target_modules)
    except ConfigError as error:
        yield ("methods", name, "lora"), str(error)
        return
    full = max(min(model.linear[layer]) for layer in adapted)
    if entry.lora.rank > full:
        yield (
            ("methods", name, "lora", "rank"),
            f"is {entry.lora.rank}, must be at most {full}: models.{origin} has no layer of more.",
        )
