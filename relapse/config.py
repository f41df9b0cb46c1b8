"""A study's configuration: strict YAML, checked whole, with every default filled in.

Knows how schemas/config.schema.yaml (the fixed keys) and the `options` of registered methods, backends, metrics and
corpus sources come together, and how to say what is wrong. What only files and several keys together can tell
(missing weights, group sizes, contexts) is preflight.py's.
"""

import copy
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from relapse import preflight
from relapse.corpora import SOURCES
from relapse.errors import ConfigError
from relapse.metrics import METRICS
from relapse.preflight import Key, Problem
from relapse.quantization import BACKENDS
from relapse.registry import ROOT, Registry, did_you_mean
from relapse.unlearning.methods import METHODS

SCHEMA = ROOT / "schemas" / "config.schema.yaml"

# section -> (registry, key of an entry that names the registered thing; without one the entry's name does)
ENTRIES: dict[str, tuple[Registry, str | None]] = {
    "corpora": (SOURCES, "source"),
    "methods": (METHODS, "method"),
    "quantizers": (BACKENDS, "backend"),
    "metrics": (METRICS, None),
}


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a mapping with the same key twice (YAML would keep the last one)."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        # Here and not in construct_mapping, where merged keys (`<<`) stand beside those that override them.
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                raise ConfigError(
                    f"{self.name}: the key {key.value!r} stands twice, in lines {lines[key.value]} and {line}"
                )
            lines[str(key.value)] = line
        return node


def read_yaml(path: str | Path) -> dict:
    """The mapping in a YAML file. Raises ConfigError naming file and line for whatever else the file holds."""
    try:
        with open(path, "rb") as file:
            content = yaml.load(file, _StrictLoader)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    except ValueError as error:  # a scalar that looks like a date and is none
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        found = "is empty" if content is None else f"is {_shown(content)}"
        raise ConfigError(f"{path} {found}; a study is a mapping (`key: value` lines), as in config.yaml")
    return content


def load(path: str | Path) -> dict:
    """The study in a YAML file, checked and with every default. Raises ConfigError with all that is wrong."""
    config = read_yaml(path)
    try:
        return resolve(config)
    except ConfigError as error:
        lines = str(error).splitlines()
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        raise ConfigError("\n  ".join([f"{path} has {count}:", *lines])) from None


def resolve(config: dict) -> dict:
    """A copy of `config` with every default filled in. Raises one ConfigError with a line for each problem."""
    odd = list(_odd_keys(config, ()))
    if odd:
        raise ConfigError("\n".join(_line(problem) for problem in odd))
    written = config
    config, grids, problems = _expand_grids(written)
    schema, unknown = _assemble(config)
    problems += unknown + _violations(schema, config)
    filled = _fill(schema, config)
    _name_methods(filled)
    problems += preflight.check(filled, [key for key, _ in problems])
    problems += _unknown_methods(filled, grids)
    if problems:
        lines = (_line((_as_written(key, grids, written), text)) for key, text in problems)
        raise ConfigError("\n".join(dict.fromkeys(lines)))
    return filled


def check_entry(section: str, name: str, entry: Any) -> None:
    """Check one entry as it would stand in a study: `name` in `section` (quantizers or metrics), or section evaluation.

    Raises ConfigError with a line for each problem.
    """
    schema, problems = _assemble({section: {name: entry}} if name else {})
    part = schema["properties"][section]
    part = part["properties"][name] if name else part
    if not isinstance(entry, dict):
        problems = [((), f"is {_shown(entry)}, must be {_wanted(part)}.")]
    else:
        problems = [(key[2:], text) for key, text in problems] + _violations(part, entry)
    if problems:
        where = (section, name) if name else (section,)
        raise ConfigError("\n".join(_line(((*where, *key), text)) for key, text in problems))


def _unknown_methods(filled: dict, grids: dict[str, str]) -> Iterator[Problem]:
    """Names under a quantizer's `methods` that no entry of the study has."""
    methods = _mapping(filled.get("methods"))
    known = list(dict.fromkeys([*(grids.get(name, name) for name in methods), *methods]))
    for name, entry in _mapping(filled.get("quantizers")).items():
        wanted = _mapping(entry).get("methods")
        for place, method in enumerate(wanted if isinstance(wanted, list) else []):
            if isinstance(method, str) and method not in known:
                yield (
                    ("quantizers", name, "methods", place),
                    f"no method is called {method!r}.{did_you_mean(method, known)} Allowed: {', '.join(known)}.",
                )


def entry_names(config: dict) -> dict[str, str]:
    """Name of a method in the resolved study -> name of the entry it was written in: another one only for a grid."""
    resolved, grids, _ = _expand_grids(config)
    return {name: grids.get(name, name) for name in _mapping(resolved.get("methods"))}


def canonical(branch: Any) -> str:
    """`branch` as JSON that does not depend on the order of keys or the spelling of numbers."""
    return json.dumps(branch, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _line(problem: Problem) -> str:
    key, text = problem
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")
    return f"{path}: {' '.join(text.split())}" if path else " ".join(text.split())


def _odd_keys(value: Any, key: Key) -> Iterator[Problem]:
    """Keys that YAML reads as something else than text, and values inside themselves."""
    if len(key) > 50:
        yield key[:5], "is nested in itself without end"
        return
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        if isinstance(value, dict) and not isinstance(name, str):
            yield (*key, str(name)), f"the key {name!r} is read by YAML as {_kind(name)}, not as text: put it in quotes"
        else:
            yield from _odd_keys(inner, (*key, name))


# --- grids of methods -------------------------------------------------------------------------------------------------


def _expand_grids(config: dict) -> tuple[dict, dict[str, str], list[Problem]]:
    """`config` with an entry for each point of a method's grid, expanded name -> its entry's name, and what is wrong.

    A grid that is no mapping of lists stays where it is, for the schema to refuse.
    """
    methods = _mapping(config.get("methods"))
    expanded: dict[str, Any] = {name: entry for name, entry in methods.items() if not _has_grid(entry)}
    grids: dict[str, str] = {}
    problems: list[Problem] = []
    for name, entry in methods.items():
        if not _has_grid(entry):
            continue
        common = {"method": name} | {key: value for key, value in entry.items() if key != "grid"}
        twice = [key for key in entry["grid"] if key in entry]
        problems += [(("methods", name, "grid", key), f"{key} stands in the entry too; say it once.") for key in twice]
        for values in itertools.product(*entry["grid"].values()):
            point = dict(zip(entry["grid"], values, strict=True))
            point_name = "-".join([name, *(_point_part(key, value) for key, value in point.items())])
            if point_name in expanded:
                problems.append((("methods", name, "grid"), f"two models would be called {point_name}."))
            expanded[point_name] = common | point
            grids[point_name] = name
    return (config | {"methods": expanded} if grids else config), grids, problems


def _has_grid(entry: Any) -> bool:
    """Whether an entry has a grid that can be expanded."""
    grid = _mapping(entry).get("grid")
    return (
        isinstance(grid, dict) and bool(grid) and all(isinstance(values, list) and values for values in grid.values())
    )


def _point_part(key: str, value: Any) -> str:
    """A grid's value in a name: lr5e-05 for a number, float32 for text."""
    if _is_number(value):
        return f"{key}{value:g}"
    return value if isinstance(value, str) else f"{key}{str(value).lower()}"


def _as_written(key: Key, grids: dict[str, str], written: dict) -> Key:
    """Where the user finds a key of the expanded study: in the grid that it comes from."""
    if len(key) < 2 or key[0] != "methods" or key[1] not in grids:
        return key
    name, rest = grids[key[1]], key[2:]
    entry = written["methods"][name]
    if rest[:1] == ("method",) and "method" not in entry and "method" not in entry["grid"]:
        return ("methods", name)
    return ("methods", name, "grid", *rest) if rest and rest[0] in entry["grid"] else ("methods", name, *rest)


# --- the schema of one configuration ----------------------------------------------------------------------------------


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


def _assemble(config: dict) -> tuple[dict, list[Problem]]:
    """The schema that this configuration must satisfy, and the names in it that are not registered."""
    schema = copy.deepcopy(_fixed_schema())
    problems: list[Problem] = []
    for section, (registry, names_it) in ENTRIES.items():
        part = schema["properties"][section]
        part["properties"] = {}
        for name, entry in _mapping(config.get(section)).items():
            # Only a method's `method:` may be left out.
            by_name = names_it is None or (section == "methods" and names_it not in _mapping(entry))
            wanted = name if by_name else _mapping(entry).get(names_it)
            common = part["additionalProperties"]
            if wanted is None or not isinstance(wanted, str):
                part["properties"][name] = common | {"additionalProperties": True}  # reported by the schema
                continue
            try:
                part["properties"][name] = _with_options(common, registry.get(wanted).options)
            except ConfigError as error:
                hint = " Or say which with `method:`." if section == "methods" and by_name else ""
                problems.append(((section, name) if by_name else (section, name, names_it), f"{error}{hint}"))
                part["properties"][name] = common | {"additionalProperties": True}
    for name, entry in _mapping(config.get("models")).items():
        if name in schema["properties"]["models"]["properties"] and isinstance(entry, dict):
            kinds = {
                kind["properties"]["source"]["const"]: kind
                for kind in schema["properties"]["models"]["properties"][name]["anyOf"]
            }
            source = entry.get("source")
            if isinstance(source, str) and source in kinds:
                schema["properties"]["models"]["properties"][name] = kinds[source]
            else:
                schema["properties"]["models"]["properties"][name] = {
                    "type": "object",
                    "required": ["source"],
                    "properties": {
                        "source": {"enum": list(kinds), "description": "Where the model comes from."},
                    },
                }
    return schema, problems


def _with_options(common: dict, options: dict[str, dict]) -> dict:
    """The schema of an entry: the section's common keys and the registered thing's own."""
    return common | {
        "properties": common["properties"] | options,
        "required": common.get("required", []) + [key for key, option in options.items() if "default" not in option],
    }


def _mapping(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


# --- defaults ---------------------------------------------------------------------------------------------------------


def _fill(schema: dict, value: Any) -> Any:
    """A copy of `value` with the schema's defaults, and with numbers in the type that the schema asks for."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        filled = {key: copy.deepcopy(part["default"]) for key, part in properties.items() if "default" in part} | value
        others = schema.get("additionalProperties")
        others = others if isinstance(others, dict) else {}
        return {key: _fill(properties.get(key, others), inner) for key, inner in filled.items()}
    if isinstance(value, list):
        return [_fill(schema.get("items", {}), item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        types = {part.get("type") for part in (schema, *schema.get("anyOf", ()))}
        if "integer" in types and _is_number(value) and value == int(value):
            return int(value)
        if "number" in types and _is_number(value):
            return float(value)
    return value


def _name_methods(filled: dict) -> None:
    for name, entry in _mapping(filled.get("methods")).items():
        if isinstance(entry, dict):
            entry.setdefault("method", name)


# --- what is wrong ----------------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    """A finite int or float; not a bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


@cache
def _validator_class() -> type:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    checker = Draft202012Validator.TYPE_CHECKER.redefine("number", lambda _, value: _is_number(value))
    return extend(Draft202012Validator, type_checker=checker)


def _violations(schema: dict, config: dict) -> list[Problem]:
    """What in `config` breaks the schema, at most once for each key."""
    found: dict[Key, str] = {}
    for error in _validator_class()(schema).iter_errors(config):
        for key, text in _explain(error):
            found.setdefault(key, text)
    return list(found.items())


def _explain(error: Any) -> Iterable[Problem]:
    """The problems behind one error of jsonschema."""
    key, schema, value = tuple(error.absolute_path), error.schema, error.instance
    if error.validator == "additionalProperties":
        allowed = list(schema.get("properties", {}))
        text = f"Allowed: {', '.join(sorted(allowed))}." if allowed else "No key is allowed here."
        return [
            ((*key, name), f"unknown key.{did_you_mean(name, allowed)} {text}")
            for name in value
            if name not in schema.get("properties", {})
        ]
    if error.validator == "required":
        others = schema.get("additionalProperties")
        parts = {name: schema["properties"].get(name, others) for name in error.validator_value if name not in value}
        return [
            ((*key, name), f"missing; must be {_wanted(part)}. {part['description']}") for name, part in parts.items()
        ]
    if error.validator == "oneOf":
        if not isinstance(value, dict):
            return []  # its type is wrong, which is said already
        names = [alternative["required"][0] for alternative in error.validator_value]
        given = [name for name in names if name in value]
        return [(key, f"give exactly one of {' and '.join(names)}; it has {' and '.join(given) or 'neither'}.")]
    if "propertyNames" in list(error.absolute_schema_path):
        return [((*key, value), f"{value!r} is not a possible name. Allowed: {schema['description']}.")]
    if error.validator == "minProperties":
        return [(key, "is empty, must have at least one entry.")]
    if value is None:
        empty = " ({} for the defaults)" if schema.get("type") == "object" and not schema.get("required") else ""
        return [(key, f"is empty, must be {_wanted(schema)}{empty}.")]
    return [(key, f"is {_shown(value)}, must be {_wanted(schema)}.{_hint(schema, value)}")]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "a mapping", list: "a list", str: "text", int: "a number", float: "a number", type(None): "empty"}
    return names.get(type(value), f"a {type(value).__name__}")


def _shown(value: Any) -> str:
    """The value as the user wrote it, with what YAML made of it."""
    if isinstance(value, bool):
        return f"{str(value).lower()} (true or false)"
    if isinstance(value, str):
        return f"{value!r} (text)"
    if isinstance(value, dict) or (isinstance(value, list) and len(value) > 8):
        return _kind(value)
    if isinstance(value, list):
        return f"{value} (a list)" if value else "an empty list"
    return str(value)


def _wanted(schema: dict) -> str:
    """What a schema allows, in words."""
    if "enum" in schema:
        allowed = [str(value) for value in schema["enum"]]
        return allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}"
    if "const" in schema:
        return f"{schema['const']}"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_wanted(part) for part in schema["anyOf"]))
    kind = schema.get("type")
    if kind in ("integer", "number"):
        limits = [
            words.format(schema[limit])
            for limit, words in (
                ("minimum", "at least {}"),
                ("exclusiveMinimum", "greater than {}"),
                ("maximum", "at most {}"),
                ("exclusiveMaximum", "less than {}"),
            )
            if limit in schema
        ]
        name = "a whole number" if kind == "integer" else "a number"
        return f"{name} ({' and '.join(limits)})" if limits else name
    if kind == "string":
        if "pattern" in schema:
            return "text of lower-case letters, digits, dots, dashes and underscores"
        return "text that is not empty" if schema.get("minLength") else "text"
    if kind == "array":
        least = "a list that is not empty" if schema.get("minItems") else "a list"
        different = ", all values different" if schema.get("uniqueItems") else ""
        return f"{least}{different}, each {_wanted(schema.get('items', {}))}"
    return {"boolean": "true or false", "object": "a mapping (`key: value`)"}.get(kind, "given")


def _hint(schema: dict, value: Any) -> str:
    """How to write what was probably meant, or ''."""
    alternatives = (schema, *schema.get("anyOf", ()))
    numeric = any(part.get("type") in ("integer", "number") for part in alternatives)
    if isinstance(value, str):
        if numeric and (number := _number_hint(value)):
            return f" {number}"
        names = [
            str(name) for part in alternatives for name in part.get("enum", [part["const"]] if "const" in part else [])
        ]
        return did_you_mean(value, names)
    if schema.get("type") == "string" and not isinstance(value, dict | list):
        return " Put it in quotes."
    return ""


def _number_hint(text: str) -> str:
    """How to write `text` so that YAML 1.1 reads it as a number; '' where it is none."""
    match = re.fullmatch(r"\s*([+-]?)(\d*)(\.\d*)?(?:[eE]([+-]?)(\d+))?\s*", text)
    if not match or not (match[2] or (match[3] or "").strip(".")):
        return ""
    sign, whole, fraction, exponent_sign, exponent = match.groups()
    if exponent is None:
        return f"Write {sign}{whole or '0'}{fraction or ''} without quotes."
    fraction = fraction if fraction and fraction != "." else ".0"
    return f"YAML reads {text} as text: write {sign}{whole or '0'}{fraction}e{exponent_sign or '+'}{exponent}."
