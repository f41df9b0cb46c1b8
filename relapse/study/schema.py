"""The schema that one configuration must satisfy: the fixed keys, and the options of what its entries name.

Knows schemas/config.schema.yaml, the registries and their defaults; what an error means to a person is messages.py's.
"""

import copy
from functools import cache
from typing import Any

import yaml

from relapse.corpora import SOURCES
from relapse.metrics import METRICS
from relapse.quantization import BACKENDS
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.errors import ConfigError
from relapse.runtime.registry import ROOT, Registry
from relapse.runtime.settings import Settings, json_schema
from relapse.study.messages import is_number, mapping
from relapse.study.preflight import Problem
from relapse.unlearning import elsewhere
from relapse.unlearning.elsewhere import is_made_elsewhere
from relapse.unlearning.methods import METHODS
from relapse.unlearning.settings import MethodSettings

SCHEMA = ROOT / "schemas" / "config.schema.yaml"

# section -> (registry, key of an entry that names the registered thing; without one the entry's name does)
ENTRIES: dict[str, tuple[Registry, str | None]] = {
    "corpora": (SOURCES, "source"),
    "methods": (METHODS, "method"),
    "quantizers": (BACKENDS, "backend"),
    "metrics": (METRICS, None),
}

# source -> the schema of an unlearned model that was made elsewhere
ELSEWHERE = {source: json_schema(settings) for source, settings in elsewhere.SOURCES.items()}

# section -> what all its entries have in common
COMMON: dict[str, type[Settings]] = {"methods": MethodSettings, "quantizers": QuantizerSettings}


@cache
def _fixed_schema() -> dict:
    """schemas/config.schema.yaml with every $ref replaced by what it refers to."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))

    def inline(value: Any) -> Any:
        if isinstance(value, list):
            return [inline(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inline(schema["$defs"][value["$ref"].removeprefix("#/$defs/")])
        return {key: inline(item) for key, item in value.items() if key != "$defs"}

    return inline(schema)


def assemble(config: dict) -> tuple[dict, list[Problem]]:
    """The schema that this configuration must satisfy, and the names in it that are not registered."""
    schema = copy.deepcopy(_fixed_schema())
    problems: list[Problem] = []
    for section, (registry, names_it) in ENTRIES.items():
        part = schema["properties"][section]
        part["properties"] = {}
        if section in COMMON:
            part["additionalProperties"] = _of_class(COMMON[section])
        for name, entry in mapping(config.get(section)).items():
            if section == "methods" and is_made_elsewhere(entry):
                part["properties"][name] = _by_source(entry, ELSEWHERE)
                continue
            # Only a method's `method:` may be left out.
            by_name = names_it is None or (section == "methods" and names_it not in mapping(entry))
            wanted = name if by_name else mapping(entry).get(names_it)
            common = part["additionalProperties"]
            if wanted is None or not isinstance(wanted, str):
                part["properties"][name] = common | {"additionalProperties": True}  # reported by the schema
                continue
            try:
                part["properties"][name] = _of_thing(common, registry.get(wanted))
            except ConfigError as error:
                hint = " Or say which with `method:`." if section == "methods" and by_name else ""
                problems.append(((section, name) if by_name else (section, name, names_it), f"{error}{hint}"))
                part["properties"][name] = common | {"additionalProperties": True}
    for name, entry in mapping(config.get("models")).items():
        if name in schema["properties"]["models"]["properties"] and isinstance(entry, dict):
            kinds = {
                kind["properties"]["source"]["const"]: kind
                for kind in schema["properties"]["models"]["properties"][name]["anyOf"]
            }
            schema["properties"]["models"]["properties"][name] = _by_source(entry, kinds)
    return schema, problems


def _by_source(entry: dict, kinds: dict[str, dict]) -> dict:
    """The schema of the kind that an entry's source names; where it names none, one that asks for a source."""
    source = entry.get("source")
    if isinstance(source, str) and source in kinds:
        return kinds[source]
    known = {"source": {"enum": list(kinds), "description": "Where the model comes from."}}
    return {"type": "object", "required": ["source"], "properties": known}


def _of_class(settings: type[Settings]) -> dict:
    """The schema of a class, with what a study may leave out and config.py fills in."""
    schema = json_schema(settings)
    return schema | {"required": [key for key in schema.get("required", []) if key != "method"]}


def _of_thing(common: dict, thing: Any) -> dict:
    """The schema of an entry: the section's common keys and the registered thing's own."""
    if hasattr(thing, "settings"):
        return _of_class(thing.settings)
    options = thing.options
    return common | {
        "properties": common["properties"] | options,
        "required": common.get("required", []) + [key for key, option in options.items() if "default" not in option],
    }


def fill(schema: dict, value: Any) -> Any:
    """A copy of `value` with the schema's defaults, and with numbers in the type that the schema asks for."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        filled = {key: copy.deepcopy(part["default"]) for key, part in properties.items() if "default" in part} | value
        others = schema.get("additionalProperties")
        others = others if isinstance(others, dict) else {}
        return {key: fill(properties.get(key, others), inner) for key, inner in filled.items()}
    if isinstance(value, list):
        return [fill(schema.get("items", {}), item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        types = {part.get("type") for part in (schema, *schema.get("anyOf", ()))}
        if "integer" in types and is_number(value) and value == int(value):
            return int(value)
        if "number" in types and is_number(value):
            return float(value)
    return value
