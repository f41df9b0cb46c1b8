"""What a user writes on the command line for an entry of a study: `nf4`, `rtn,bits=4,group_size=128`.

The spelling (`key=value` after commas) is lm-evaluation-harness's. This module adds short names. The settings classes
and relapse/study/config.py check the keys and values.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from relapse.audit.compare import FORMATS
from relapse.metrics import METRICS, PAPER_METRICS
from relapse.quantization import BACKENDS
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.errors import ConfigError
from relapse.runtime.registry import did_you_mean
from relapse.runtime.settings import Settings
from relapse.study.config import check_entry


def parts(text: str) -> tuple[str, dict[str, Any]]:
    """The name before the first comma, and the values of the `key=value` behind it, as YAML reads them."""
    name, *pairs = text.split(",")
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{text!r}: {pair!r} is not key=value; write it like rtn,bits=4,group_size=128")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"{text!r}: cannot read the value of {key.strip()}: {' '.join(str(error).split())}"
            ) from None
    return name.strip(), found


def short_names() -> dict[str, dict[str, Any]]:
    """Names that stand for a whole entry: those of the audit, and bitsandbytes' formats by themselves."""
    formats = {entry["format"]: entry for entry in FORMATS.values() if "format" in entry}
    return FORMATS | formats


def quantizer(text: str) -> QuantizerSettings:
    """The settings of a quantizer. Raises ConfigError that names the wrong key or value, and what is allowed."""
    name, given = parts(text)
    short = short_names()
    known = sorted({*short, *BACKENDS.names()})
    if name not in known:
        raise ConfigError(f"no quantizer is called {name!r}.{did_you_mean(name, known)} Allowed: {', '.join(known)}.")
    entry = short.get(name, {"backend": name}) | given
    check_entry("quantizers", name, entry)
    return BACKENDS.settings(entry)


def metric(text: str) -> tuple[str, Settings]:
    """A metric's name and its settings. Raises ConfigError likewise."""
    name, given = parts(text)
    check_entry("metrics", name, given)
    return name, METRICS.settings(given, name)


def asked_in(prompt: str, metrics: Mapping[str, Settings] | None, without: Sequence[str]) -> dict[str, Settings]:
    """The metrics, or the paper's but those `without`, with KnowMem's questions in the wording `prompt`.

    Raises ConfigError for what is no wording.
    """
    found = dict(metrics or {name: METRICS.settings({}, name) for name in PAPER_METRICS if name not in without})
    for name in found:
        if name.startswith("knowmem"):
            entry = found[name].plain() | {"prompt": prompt}
            check_entry("metrics", name, entry)
            found[name] = METRICS.settings(entry, name)
    return found
