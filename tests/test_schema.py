"""Every key of a study is described, with its type; and the schema for editors accepts what relapse does."""

import json
from collections.abc import Iterator

import jsonschema
import pytest
from small_study import REMOVE, edited, study

from relapse.corpora import SOURCES
from relapse.metrics import METRICS
from relapse.quantization import BACKENDS
from relapse.runtime.registry import ROOT
from relapse.runtime.settings import json_schema
from relapse.study.settings import StudySettings
from relapse.study.strict_yaml import read_yaml
from relapse.unlearning.methods import METHODS
from scripts import config_reference

STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]


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
    for path, key in [("", json_schema(StudySettings)), *described(json_schema(StudySettings), "")]:
        assert key.get("description"), path
        if key.get("type") == "object":
            assert "additionalProperties" in key, path
            if "properties" in key:
                assert key["additionalProperties"] is False, path


@pytest.mark.parametrize("registry", [SOURCES, METHODS, BACKENDS, METRICS], ids=lambda registry: registry.kind)
def test_every_key_of_a_class_is_described_with_a_type(registry):
    for name in registry.names():
        for key, part in json_schema(registry.get(name).settings)["properties"].items():
            for path, inner in [(f"{name}.{key}", part), *described(part, f"{name}.{key}")]:
                assert {"type", "enum", "const", "anyOf"} & set(inner), path
            assert part["description"], f"{name}.{key}"


@pytest.fixture(scope="module")
def editor():
    """The schema that editors read, as a validator."""
    schema = json.loads(config_reference.SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def wrong(editor, written: dict) -> set[str]:
    return {"/".join(map(str, error.absolute_path)) for error in editor.iter_errors(written)}


def test_the_schema_for_editors_is_up_to_date():
    assert config_reference.SCHEMA.read_text(encoding="utf-8") == config_reference.schema_text(), (
        "run python -m scripts.config_reference"
    )


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_a_study_names_the_schema_and_satisfies_it(editor, path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    where = first.removeprefix("# yaml-language-server: $schema=")
    assert where != first and (path.parent / where).resolve() == config_reference.SCHEMA
    assert wrong(editor, read_yaml(path)) == set()


GRID = {"grid": {"lr": [1e-5], "steps": [2], "alpha": [1.0]}}


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("seeds", [0, 0], {"seeds"}),
        ("methods/npo_klr/lr", 0, {"methods/npo_klr/lr"}),
        ("methods/npo_klr/lr", REMOVE, {"methods/npo_klr"}),
        ("methods/npo_klr/bata", 1.0, {"methods/npo_klr"}),
        ("methods/mine", {"method": "npo_kl", "lr": 1e-5, "steps": 2}, {"methods/mine/method"}),
        ("methods/mine", {"method": "npo", "lr": 1e-5, "steps": 2, "alpha": 1.0}, {"methods/mine"}),
        ("methods/mine", {"lr": 1e-5, "steps": 2}, {"methods/mine"}),
        ("methods/npo_klr", {"method": "ga", "lr": 1e-5, "steps": 2}, set()),
        ("methods/npo_klr", GRID, set()),
        ("quantizers/int4/bits", 9, {"quantizers/int4/bits"}),
        ("quantizers/int4/backend", "rnt", {"quantizers/int4/backend"}),
        ("quantizers/full", REMOVE, {"quantizers"}),
        ("metrics/knowmem_retian", {}, {"metrics"}),
        ("metrics/privleak", {"k": 400}, {"metrics/privleak/k"}),
        ("corpora/bios/forgot", 4, {"corpora/bios"}),
        ("models/base/source", "train", {"models/base/source"}),
        ("models/target/epochs", 2, {"models/target"}),
    ],
)
def test_editors_mark_what_relapse_refuses(editor, path, value, where):
    assert wrong(editor, study()) == set()
    assert wrong(editor, edited((path, value))) == where
