"""What is wrong with a configuration, in words: the key, the value as it was written, what is allowed, what was meant.

This module explains errors of JSON Schema and surprises of YAML; schema.py builds the schema.
"""

import math
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from relapse.runtime.registry import did_you_mean

Key = tuple[str | int, ...]  # of what is wrong
Problem = tuple[Key, str]  # and what is wrong with it
LARGEST = 10**9  # whole number: of what can be counted here, there is never more


def line(problem: Problem) -> str:
    """A problem as one line of text: methods.ga.lr: is ..., must be ..."""
    key, text = problem
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")
    return f"{path}: {' '.join(text.split())}" if path else " ".join(text.split())


def mapping(value: Any) -> dict:
    """`value` where it is a mapping, else an empty one: another check reports what is wrong with it."""
    return value if isinstance(value, dict) else {}


def is_number(value: Any) -> bool:
    """A finite int or float; not a bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def odd_keys(value: Any, key: Key) -> Iterator[Problem]:
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
            yield from odd_keys(inner, (*key, name))


@cache
def _validator_class() -> type:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    known = Draft202012Validator.TYPE_CHECKER
    checker = known.redefine_many(
        {
            "number": lambda _, value: is_number(value),
            "integer": lambda _, value: known.is_type(value, "integer") and abs(value) <= LARGEST,
        }
    )
    return extend(Draft202012Validator, type_checker=checker)


def violations(schema: dict, config: dict) -> list[Problem]:
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
            ((*key, name), f"missing; must be {wanted(part)}. {part.get('description', '')}".rstrip())
            for name, part in parts.items()
        ]
    if error.validator == "oneOf":
        if not isinstance(value, dict):
            return []  # its type is wrong, which is reported already
        names = [alternative["required"][0] for alternative in error.validator_value]
        given = [name for name in names if name in value]
        return [(key, f"give exactly one of {' and '.join(names)}; it has {' and '.join(given) or 'neither'}.")]
    if "propertyNames" in list(error.absolute_schema_path):
        return [((*key, value), f"{value!r} is not a possible name. Allowed: {schema['description']}.")]
    if error.validator == "minProperties":
        return [(key, "is empty, must have at least one entry.")]
    if value is None:
        empty = " ({} for the defaults)" if schema.get("type") == "object" and not schema.get("required") else ""
        return [(key, f"is empty, must be {wanted(schema)}{empty}.")]
    return [(key, f"is {shown(value)}, must be {wanted(schema)}.{_hint(schema, value)}")]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "a mapping", list: "a list", str: "text", int: "a number", float: "a number", type(None): "empty"}
    return names.get(type(value), f"a {type(value).__name__}")


def shown(value: Any) -> str:
    """The value as the user wrote it, with the type that YAML read."""
    if isinstance(value, bool):
        return f"{str(value).lower()} (true or false)"
    if isinstance(value, str):
        return f"{value!r} (text)"
    if isinstance(value, dict) or (isinstance(value, list) and len(value) > 8):
        return _kind(value)
    if isinstance(value, list):
        return f"{value} (a list)" if value else "an empty list"
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"{value:.3g}" if abs(value) < 1e300 else f"a number of {len(str(abs(value)))} digits"
    return str(value)


def wanted(schema: dict) -> str:
    """What a schema allows, in words."""
    if "enum" in schema:
        allowed = [str(value) for value in schema["enum"]]
        return allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}"
    if "const" in schema:
        return f"{schema['const']}"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(wanted(part) for part in schema["anyOf"]))
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
            return schema["title"]
        return "text that is not empty" if schema.get("minLength") else "text"
    if kind == "array":
        least = "a list that is not empty" if schema.get("minItems") else "a list"
        different = ", all values different" if schema.get("uniqueItems") else ""
        return f"{least}{different}, each {wanted(schema.get('items', {}))}"
    return {"boolean": "true or false", "object": "a mapping (`key: value`)"}.get(str(kind), "given")


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
    if schema.get("type") == "integer" and isinstance(value, int) and abs(value) > LARGEST:
        return f" The largest whole number is {LARGEST}."
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
