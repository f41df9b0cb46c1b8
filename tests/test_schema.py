"""Every key of a study is described, with its type, in the schema or beside what it belongs to."""

from collections.abc import Iterator

import pytest
import yaml

from relapse.corpora import SOURCES
from relapse.metrics import METRICS
from relapse.quantization import BACKENDS
from relapse.runtime.settings import json_schema
from relapse.study.schema import SCHEMA
from relapse.unlearning.methods import METHODS


def described(schema: dict, path: str) -> Iterator[tuple[str, dict]]:
    for name, part in schema.get("properties", {}).items():
        yield f"{path}.{name}", part
        yield from described(part, f"{path}.{name}")
    for key in ("additionalProperties", "items"):
        if isinstance(schema.get(key), dict):
            yield from described(schema[key], f"{path}.{key}")
    for part in schema.get("anyOf", ()):
        yield from described(part, path)


def test_every_fixed_key_is_described_and_no_mapping_takes_unknown_keys():
    schema = yaml.safe_load(SCHEMA.read_text())
    parts = {"": schema} | schema["$defs"]
    for name, part in parts.items():
        for path, key in described(part, name):
            assert key.get("description") or "$ref" in key, path
            if key.get("type") == "object":
                assert "additionalProperties" in key, path
        if part.get("type") == "object":
            assert part["additionalProperties"] is False and part["description"], name


@pytest.mark.parametrize("registry", [SOURCES, METHODS, BACKENDS, METRICS], ids=lambda registry: registry.kind)
def test_every_key_of_a_class_is_described_with_a_type(registry):
    for name in registry.names():
        for key, part in json_schema(registry.get(name).settings)["properties"].items():
            for path, inner in [(f"{name}.{key}", part), *described(part, f"{name}.{key}")]:
                assert {"type", "enum", "const", "anyOf"} & set(inner), path
            assert part["description"], f"{name}.{key}"
