"""A study file's JSON Schema for editors: schemas/config.schema.json, which completes and checks while one writes.

Unlike the schema of schema.py, which is assembled for one configuration, it holds for all of them: what an entry names
decides which keys it has.
"""

import copy
from typing import Any

from relapse.runtime.settings import json_schema
from relapse.study.settings import MODELS, REGISTRIES, StudySettings
from relapse.unlearning.elsewhere import SOURCES as UNLEARNED

DRAFT = "http://json-schema.org/draft-07/schema#"  # which every editor knows
CONDITIONS = ("required", "oneOf")  # what an entry must have, unless its grid has it


def editor_schema() -> dict[str, Any]:
    """The schema, with a definition for every registered thing."""
    schema = copy.deepcopy(json_schema(StudySettings))
    sections = schema["properties"]
    definitions: dict[str, Any] = {}
    for section, registry in REGISTRIES.items():
        part, refs, named_by = sections[section], {}, registry.named_by
        common = part["additionalProperties"]["properties"]
        definitions[section] = {"properties": common}
        for name in registry.names():
            entry = dict(json_schema(registry.get(name).settings))
            entry["properties"] = {
                key: {"$ref": f"#/definitions/{section}/properties/{key}"} if value == common.get(key) else value
                for key, value in entry["properties"].items()
            }
            definitions[f"{section}.{name}"] = _with_grid(entry, named_by) if section == "methods" else entry
            refs[name] = {"$ref": f"#/definitions/{section}.{name}"}
        if named_by is None:
            part |= {"properties": refs, "additionalProperties": False}
            continue
        meaning = part["additionalProperties"]["properties"][named_by]["description"]
        part["additionalProperties"] = chosen = _chosen(named_by, refs, meaning)
        if section == "methods":  # an entry that does not name its method is called by it
            definitions["methods.run"] = chosen
            run = part["additionalProperties"] = _or_elsewhere({"$ref": "#/definitions/methods.run"})
            part["properties"] = {
                name: {"if": {"anyOf": [{"required": [key]} for key in (named_by, "source")]}, "then": run, "else": ref}
                for name, ref in refs.items()
            }
    for name, part in sections["models"]["properties"].items():
        kinds = [kind["properties"]["source"]["const"] for kind in part.pop("anyOf")]
        refs = {kind: {"$ref": f"#/definitions/models.{kind}"} for kind in kinds}
        sections["models"]["properties"][name] = part | _chosen("source", refs, part["description"])
    definitions |= {f"unlearned.{name}": json_schema(kind) for name, kind in UNLEARNED.items()}
    refs = {name: {"$ref": f"#/definitions/unlearned.{name}"} for name in UNLEARNED}
    definitions["unlearned"] = _chosen("source", refs, "Where the model comes from.")
    definitions |= {f"models.{name}": copy.deepcopy(json_schema(kind)) for name, kind in MODELS.items()}
    return {"$schema": DRAFT, "title": "A relapse study"} | schema | {"definitions": definitions}


def _chosen(key: str, schemas: dict[str, Any], description: str) -> dict[str, Any]:
    """A mapping whose `key` decides which of these schemas it must satisfy."""
    choices = [
        {"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": schema}
        for name, schema in schemas.items()
    ]
    properties = {key: {"enum": list(schemas), "description": description}}
    return {"type": "object", "required": [key], "properties": properties, "allOf": choices}


def _or_elsewhere(run: dict[str, Any]) -> dict[str, Any]:
    """The schema of a methods entry: a run, or with `source` a model that was made elsewhere."""
    return {"if": {"required": ["source"]}, "then": {"$ref": "#/definitions/unlearned"}, "else": run}


def _with_grid(entry: dict[str, Any], named_by: str | None) -> dict[str, Any]:
    """A method's schema in which keys may stand in `grid` instead, and the method's name may be left out."""
    entry["required"] = [key for key in entry["required"] if key != named_by]
    return entry | {"if": {"not": {"required": ["grid"]}}, "then": {key: entry.pop(key) for key in CONDITIONS}}
