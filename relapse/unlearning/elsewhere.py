"""A `methods` entry of a study for an unlearned model that was made elsewhere."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from relapse.runtime.errors import ConfigError
from relapse.runtime.settings import Commit, Settings, Text
from relapse.unlearning.methods import METHODS
from relapse.unlearning.settings import MethodSettings


class MadeElsewhere(Settings):
    """An unlearned model that was made elsewhere from the study's target: whole weights, or an adapter of peft."""

    as_stored: bool = Field(
        False,
        description="true: weights keep the number format of their files, such as float32. false: they are rounded to "
        "bfloat16 like the target's. An adapter is first merged into the target in float32.",
    )


class LocalUnlearned(MadeElsewhere):
    """An unlearned model or an adapter in a folder."""

    source: Literal["local"] = Field(description="A folder in Hugging Face's format.")
    path: Text = Field(
        description="Folder with config.json and safetensors weights, or with adapter_config.json and "
        "adapter_model.safetensors. Without tokenizer files it gets the target's."
    )


class HubUnlearned(MadeElsewhere):
    """An unlearned model or an adapter on the Hugging Face Hub."""

    source: Literal["hub"] = Field(description="A repository on the Hugging Face Hub.")
    id: Text = Field(description="Repository, such as OWNER/NAME.")
    revision: Commit


SOURCES: dict[str, type[MadeElsewhere]] = {"local": LocalUnlearned, "hub": HubUnlearned}


def is_made_elsewhere(entry: Any) -> bool:
    """Whether a `methods` entry is a model from elsewhere rather than an unlearning run."""
    return isinstance(entry, Mapping) and "source" in entry


def settings_of(entry: Mapping[str, Any]) -> MethodSettings | MadeElsewhere:
    """A `methods` entry of a study as an object of its class. Raises ConfigError for what is wrong with it."""
    if not is_made_elsewhere(entry):
        return METHODS.settings(entry)
    if entry["source"] not in SOURCES:
        raise ConfigError(f"source: is {entry['source']!r}, must be one of {', '.join(SOURCES)}")
    return SOURCES[entry["source"]].of(entry)
