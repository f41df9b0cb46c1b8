"""Settings: an entry of a study as an object whose class knows each key's type, default, bounds and meaning.

This module turns such a class into a JSON Schema, and an object back into plain values. Each class is defined next to
the code that it configures; relapse/study/ lists the entries of a study.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from relapse.runtime.errors import ConfigError

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]
Commit = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{40}$",
        title="a commit's 40 hexadecimal digits, since a branch or tag can move",
        description="Commit that pins what is on the Hub; the repository's page lists them under History.",
    ),
]
Compute = Literal["float32", "bfloat16"]
UNIQUE = {"uniqueItems": True}  # json_schema_extra of a list whose values differ


class Settings(BaseModel):
    """An entry, or a mapping inside one. A key that may be left out without having a default is None then."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """The entry as an object. Raises ConfigError with every key that is wrong or missing, in one line."""
        try:
            return cls.model_validate(entry)
        except ValidationError as error:
            raise ConfigError("; ".join(map(_problem, error.errors(include_url=False)))) from None

    def plain(self) -> dict[str, Any]:
        """The keys that have a value, sorted, as JSON has them."""
        return json.loads(json.dumps(self.model_dump(exclude_none=True), sort_keys=True))


def _problem(error: ErrorDetails) -> str:
    """One of pydantic's errors as text: key, value, what is allowed."""
    key = "".join(f"{part}: " for part in [".".join(map(str, error["loc"]))] if part)
    text = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    shown = "" if error["type"] in ("missing", "extra_forbidden", "value_error") else f"is {error['input']!r}, "
    return f"{key}{shown}{text}"


class _Schema(GenerateJsonSchema):
    """pydantic's JSON Schema without what is its own: titles of fields, null for a key that may be left out."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: Any) -> dict:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> dict:
        found = super().default_schema(schema)
        return {key: value for key, value in found.items() if key != "default" or value is not None}

    def tagged_union_schema(self, schema: Any) -> dict:
        return {"anyOf": [self.generate_inner(kind) for kind in schema["choices"].values()]}

    def literal_schema(self, schema: Any) -> dict:
        return {key: value for key, value in super().literal_schema(schema).items() if key != "type"}


@cache
def json_schema(settings: type[Settings]) -> dict[str, Any]:
    """The JSON Schema of a class, every $ref replaced by what it refers to. Copy it before you change it."""
    schema = settings.model_json_schema(schema_generator=_Schema)

    def inline(value: Any) -> Any:
        if isinstance(value, list):
            return [inline(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            value = schema["$defs"][value["$ref"].removeprefix("#/$defs/")] | value
        found = {key: inline(item) for key, item in value.items() if key not in ("$defs", "$ref")}
        if "additionalProperties" in found:  # a class, whose name means nothing to a user
            found.pop("title", None)
        if found.get("description") == Settings.__doc__:  # a class without a text of its own
            found.pop("description")
        return found | ({"description": " ".join(found["description"].split())} if "description" in found else {})

    return inline(schema)
