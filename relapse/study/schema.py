"""The schema that one configuration must satisfy: a study's keys, and those of what its entries name.

The schema is built from the settings classes and the registries; messages.py explains violations to the user.
"""

import copy
from typing import Any

from relapse.runtime.errors import ConfigError
from relapse.runtime.settings import json_schema
from relapse.study.messages import Key, Problem, is_number, mapping
from relapse.study.settings import REGISTRIES, StudySettings
from relapse.unlearning import elsewhere
from relapse.unlearning.elsewhere import is_made_elsewhere

# source -> the schema of an unlearned model that was made elsewhere
ELSEWHERE = {source: json_schema(settings) for source, settings in elsewhere.SOURCES.items()}


def assemble(config: dict) -> tuple[dict, list[Problem]]:
    """The schema that this configuration must satisfy, and the names in it that are not registered."""
    schema = copy.deepcopy(json_schema(StudySettings))
    problems: list[Problem] = []
    for section, registry in REGISTRIES.items():
        part, names_it = schema["properties"][section], registry.named_by
        part["properties"] = {}
        part["additionalProperties"] = common = _without_method(part["additionalProperties"])
        for name, entry in mapping(config.get(section)).items():
            if section == "methods" and is_made_elsewhere(entry):
                part["properties"][name] = _by_source(entry, ELSEWHERE)
                continue
            # Only a method's `method:` may be left out.
            by_name = names_it is None or (section == "methods" and names_it not in mapping(entry))
            key: Key = (section, name) if by_name else (section, name, str(names_it))
            wanted = name if by_name else mapping(entry).get(names_it)
            if wanted is None or not isinstance(wanted, str):
                part["properties"][name] = common | {"additionalProperties": True}  # reported by the schema
                continue
            try:
                part["properties"][name] = _without_method(json_schema(registry.get(wanted).settings))
            except ConfigError as error:
                hint = " Or name it with `method:`." if section == "methods" and by_name else ""
                problems.append((key, f"{error}{hint}"))
                part["properties"][name] = common | {"additionalProperties": True}
    for name, entry in mapping(config.get("models")).items():
        if name in schema["properties"]["models"]["properties"] and isinstance(entry, dict):
            kinds = {
                kind["properties"]["source"]["const"]: kind
                for kind in schema["properties"]["models"]["properties"][name]["anyOf"]
            }
            schema["properties"]["models"]["properties"][name] = _by_source(entry, kinds)
    return schema, problems


def _without_method(schema: dict) -> dict:
    """A schema that does not ask for a method's name, which an entry may leave out."""
    return schema | {"required": [key for key in schema.get("required", []) if key != "method"]}


def _by_source(entry: dict, kinds: dict[str, dict]) -> dict:
    """The schema of the kind that an entry's source names; where it names none, one that asks for a source."""
    source = entry.get("source")
    if isinstance(source, str) and source in kinds:
        return kinds[source]
    known = {"source": {"enum": list(kinds), "description": "Where the model comes from."}}
    return {"type": "object", "required": ["source"], "properties": known}


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
