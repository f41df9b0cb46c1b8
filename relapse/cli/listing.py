"""`relapse ls`: what is registered, with each thing's options, their types, defaults and meaning.

Everything printed comes from the registries: the first sentence of the file that registers a thing, and the class of
its entries.
"""

import ast
import re
import textwrap
from collections.abc import Iterator

from relapse.corpora import SOURCES
from relapse.corpora.settings import CorpusSettings
from relapse.metrics import METRICS
from relapse.quantization import BACKENDS
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.registry import ROOT, Registry
from relapse.runtime.settings import Settings, json_schema
from relapse.unlearning.methods import METHODS
from relapse.unlearning.settings import MethodSettings
from scripts.config_reference import rows

PAPER, LINK = "2410.16454", "https://arxiv.org/abs/{}"  # the paper that relapse reproduces
KINDS: dict[str, tuple[Registry, type[Settings] | None]] = {
    "methods": (METHODS, MethodSettings),
    "quantizers": (BACKENDS, QuantizerSettings),
    "metrics": (METRICS, None),
    "corpora": (SOURCES, CorpusSettings),
}


def listing(kind: str, name: str | None = None) -> Iterator[str]:
    """Lines about every thing of a kind, or with `name` about one, whose options' meanings are printed too.

    Raises ConfigError for a name that is not registered.
    """
    registry, common = KINDS[kind]
    shared = json_schema(common)["properties"] if common else {}
    for one in [name] if name else registry.names():
        yield f"{one}  {meaning(registry, one)}"
        if kind == "methods":
            yield f"    source: {source(one)}"
        for key, type_, default, description in rows(json_schema(registry.get(one).settings)):
            key = key.strip("`")
            if not name and key.split(".")[0] in shared:
                continue
            value = default.strip("`")
            shown = f"default: {value}" if value and value != "required" else value
            yield f"    {key:24} {type_.replace('`', ''):40} {shown}".rstrip()
            if name:
                yield textwrap.fill(
                    description.replace("`", ""), 112, initial_indent=" " * 8, subsequent_indent=" " * 8
                )
    if shared and not name:
        yield f"\nEvery entry also takes {', '.join(shared)}: relapse ls {kind} NAME prints them with their meaning."


def meaning(registry: Registry, name: str) -> str:
    """The first sentence of the file that registers a thing."""
    return _docstring(registry, name).split("\n\n")[0].replace("\n", " ")


def source(method: str) -> str:
    """The papers that a method's losses are from, by the file that registers it; those of its retain term and mask."""
    text = _docstring(METHODS, method)
    papers = [PAPER] * ("(paper, " in text) + re.findall(r"arXiv (\d{4}\.\d{4,5})", text)
    found = [", ".join(map(LINK.format, dict.fromkeys(papers))) or f"not named in {METHODS.source(method)}"]
    if method.removesuffix("_sure").endswith(("_gdr", "_klr")):
        found.append(f"retain term: {LINK.format(PAPER)}")
    if METHODS.get(method).sure:
        found.append(f"mask: {LINK.format(PAPER)}")
    return "; ".join(found)


def _docstring(registry: Registry, name: str) -> str:
    tree = ast.parse((ROOT / registry.source(name)).read_text(encoding="utf-8"))
    return ast.get_docstring(tree) or ""
