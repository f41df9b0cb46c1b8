"""Write what the settings classes say of a study's keys: docs/configuration.md and schemas/config.schema.json.

python -m scripts.config_reference
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from relapse.attacks import ATTACKS, AttackSettings
from relapse.corpora import SOURCES
from relapse.corpora.settings import CorpusSettings
from relapse.evaluation.settings import Evaluation
from relapse.metrics import METRICS
from relapse.quantization import BACKENDS
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.registry import ROOT, Registry
from relapse.runtime.settings import json_schema
from relapse.study.editor_schema import editor_schema
from relapse.study.settings import StudySettings
from relapse.unlearning import elsewhere
from relapse.unlearning.methods import METHODS
from relapse.unlearning.settings import MethodSettings

PAGE = ROOT / "docs" / "configuration.md"
SCHEMA = ROOT / "schemas" / "config.schema.json"
HEAD = """# Configuration

<!-- Written by `python -m scripts.config_reference`; edit the descriptions where the keys are defined. -->

A study is one YAML file, such as `config.yaml`. relapse checks the whole file before anything runs, and reports every
wrong key, value or path at once. A key without a default may be left out, unless the table has *required*. Write
numbers as `1.0e-5`. The tables' first column names a key inside a mapping with a dot.
"""
BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
SIMPLE = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "mapping",
}


def plain(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(plain, value))}]"
    return str(value) or '""'


def type_of(part: Mapping[str, Any]) -> str:
    """What a key takes, in a few words."""
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(type_of(one) for one in part["anyOf"]))
    if "enum" in part:
        return " or ".join(f"`{plain(value)}`" for value in part["enum"])
    if "const" in part:
        return f"`{plain(part['const'])}`"
    if part.get("type") == "array":
        return f"list of {type_of(part['items'])}" if part.get("items") else "list"
    if "source" in part.get("properties", {}):  # one of the kinds of models
        return f"mapping with source {type_of(part['properties']['source'])}"
    bounds = ", ".join(words.format(plain(part[key])) for key, words in BOUNDS.items() if key in part)
    return SIMPLE.get(part.get("type", ""), "any value") + (f", {bounds}" if bounds else "")


def row(*cells: str) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def default_of(key: str, part: Mapping[str, Any], required: Iterable[str]) -> str:
    """What a key is where it is left out; nothing for a mapping, whose keys have defaults of their own."""
    if part.get("type") == "object" and "default" in part:
        return ""
    return f"`{plain(part['default'])}`" if "default" in part else "required" if key in required else ""


def rows(schema: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Key, type, default and meaning of every key of a mapping, those of mappings inside it behind a dot."""
    for key, part in schema["properties"].items():
        meaning = " ".join(part.get("description", "").split())
        yield f"`{above}{key}`", type_of(part), default_of(key, part, schema.get("required", ())), meaning
        if part.get("type") == "object" and part.get("properties"):
            yield from rows(part, f"{above}{key}.")


def table(schema: Mapping[str, Any]) -> list[str]:
    """A table of a mapping's keys."""
    return [row("key", "type", "default", "meaning"), row(*["---"] * 4), *(row(*cells) for cells in rows(schema)), ""]


def own_table(registry: Registry, common: Iterable[str]) -> list[str]:
    """A table of the keys that not all things of a kind have; equal ones of several things are one line."""
    lines: dict[tuple[str, str, str, str], list[str]] = {}
    for name in registry.names():
        for cells in rows(json_schema(registry.get(name).settings)):
            if cells[0].strip("`").split(".")[0] not in common:
                lines.setdefault(cells, []).append(f"`{name}`")
    ordered = sorted(lines, key=lambda cells: (lines[cells], list(lines).index(cells)))
    return [
        *(row(registry.kind, "key", "type", "default", "meaning"), row(*["---"] * 5)),
        *(row(", ".join(lines[cells]), *cells) for cells in ordered),
        "",
    ]


def page() -> str:
    """The text of docs/configuration.md."""
    schema = json_schema(StudySettings)["properties"]
    simple = {"properties": {key: schema[key] for key in ("study", "seeds", "compute", "gpu")}}
    models = schema["models"]["properties"].values()
    kinds = {kind["properties"]["source"]["const"]: kind for part in models for kind in part["anyOf"]}
    lines = [HEAD, "## The study", "", *table(simple)]

    def section(name: str, common: Mapping[str, Any] | None, registry: Registry | None = None) -> None:
        lines.extend([f"## {name}", "", f"{schema[name]['description'].strip()}", ""])
        if common:
            lines.extend(table(common))
        if registry:
            lines.extend([f"Keys of each {registry.kind}:", ""] if common else [])
            lines.extend(own_table(registry, common["properties"] if common else ()))

    section("corpora", json_schema(CorpusSettings), SOURCES)
    section("models", schema["models"])
    for name, kind in kinds.items():
        lines += [f"### source: {name}", "", kind["description"], "", *table(kind)]
    section("methods", json_schema(MethodSettings), METHODS)
    for name, settings in elsewhere.SOURCES.items():
        lines += [f"### methods with source: {name}", "", settings.__doc__ or "", "", *table(json_schema(settings))]
    section("quantizers", json_schema(QuantizerSettings), BACKENDS)
    section("attacks", json_schema(AttackSettings), ATTACKS)
    section("metrics", None, METRICS)
    section("evaluation", json_schema(Evaluation))
    section("predictions", schema["predictions"]["items"])
    return "\n".join(lines)


def schema_text() -> str:
    """The text of schemas/config.schema.json."""
    return json.dumps(editor_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(schema_text(), encoding="utf-8")
