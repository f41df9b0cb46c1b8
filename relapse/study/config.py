"""A study's configuration: strict YAML, checked whole, as one object with every default.

This module reads and checks a study in order. settings.py and schema.py define what is allowed, grids.py expands the
grids of methods, messages.py writes the messages. preflight.py makes the checks that need files or several keys
(missing weights, group sizes, contexts).
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relapse.runtime.errors import ConfigError, RelapseError
from relapse.runtime.registry import did_you_mean
from relapse.runtime.settings import Settings
from relapse.study import comparisons, preflight
from relapse.study.grids import as_written, expand
from relapse.study.messages import Problem, line, mapping, odd_keys, shown, violations, wanted
from relapse.study.schema import assemble, fill
from relapse.study.settings import StudySettings
from relapse.study.strict_yaml import read_yaml
from relapse.unlearning.elsewhere import is_made_elsewhere

__all__ = ["canonical", "check_entry", "entry_names", "load", "named", "quoted", "read_yaml", "resolve"]


def load(path: str | Path) -> StudySettings:
    """The study in a YAML file, checked and with every default. Raises ConfigError with all that is wrong."""
    config = read_yaml(path)
    with named(path):
        return resolve(config)


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """What is wrong with a study, with the name of its file and the number of its problems."""
    try:
        yield
    except ConfigError as error:
        lines = str(error).splitlines()
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        raise ConfigError("\n  ".join([f"{path} has {count}:", *lines])) from None


def resolve(config: dict) -> StudySettings:
    """The study that `config` describes. Raises one ConfigError with a line for each problem."""
    odd = list(odd_keys(config, ()))
    if odd:
        raise ConfigError("\n".join(line(problem) for problem in odd))
    written = config
    config, grids, problems = expand(written)
    schema, unknown = assemble(config)
    problems += unknown + violations(schema, config)
    filled = fill(schema, config)
    _name_methods(filled)
    problems += preflight.check(filled, [key for key, _ in problems])
    problems += _unknown_methods(filled, grids)
    problems += comparisons.twins(filled, grids)
    problems += comparisons.predictions(filled, grids)
    if problems:
        lines = (line((as_written(key, grids, written), text)) for key, text in problems)
        raise ConfigError("\n".join(dict.fromkeys(lines)))
    return StudySettings.of(filled)


def check_entry(section: str, name: str, entry: Any) -> None:
    """Check one entry as it would stand in a study: `name` in `section` (quantizers or metrics), or section evaluation.

    Raises ConfigError with a line for each problem.
    """
    schema, problems = assemble({section: {name: entry}} if name else {})
    part = schema["properties"][section]
    part = part["properties"][name] if name else part
    if not isinstance(entry, dict):
        problems = [((), f"is {shown(entry)}, must be {wanted(part)}.")]
    else:
        problems = [(key[2:], text) for key, text in problems] + violations(part, entry)
    if problems:
        where = (section, name) if name else (section,)
        raise ConfigError("\n".join(line(((*where, *key), text)) for key, text in problems))


def entry_names(config: dict) -> dict[str, str]:
    """Name of a method in the resolved study -> name of the entry it was written in: another one only for a grid."""
    resolved, grids, _ = expand(config)
    return {name: grids.get(name, name) for name in mapping(resolved.get("methods"))}


def canonical(branch: Any) -> str:
    """`branch`, settings or plain values with settings inside, as JSON.

    It does not depend on the order of keys or the spelling of numbers.
    """
    return json.dumps(
        branch, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=Settings.plain
    )


def quoted(branch: Any) -> str:
    """`branch` as canonical JSON, one word of a shell command: as a parameter it changes when the branch does."""
    return shlex.quote(canonical(branch))


def _unknown_methods(filled: dict, grids: dict[str, str]) -> Iterator[Problem]:
    """Names under a quantizer's or an attack's `methods` that no entry of the study has."""
    methods = mapping(filled.get("methods"))
    known = list(dict.fromkeys([*(grids.get(name, name) for name in methods), *methods]))
    entries = [(section, name) for section in ("quantizers", "attacks") for name in mapping(filled.get(section))]
    for section, name in entries:
        listed = mapping(filled[section][name]).get("methods")
        for place, method in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(method, str) and method not in known:
                yield (
                    (section, name, "methods", place),
                    f"no method is called {method!r}.{did_you_mean(method, known)} Allowed: {', '.join(known)}.",
                )


def _name_methods(filled: dict) -> None:
    for name, entry in mapping(filled.get("methods")).items():
        if isinstance(entry, dict) and not is_made_elsewhere(entry):
            entry.setdefault("method", name)


def read_for_snakemake(
    config: dict, files: Sequence[str | Path], arguments: Sequence[str]
) -> tuple[StudySettings, dict]:
    """The study and its `entry_names`, from what Snakemake has read leniently and merged.

    files: the --configfile files, or config.yaml; arguments: Snakemake's command line. Raises RelapseError for a study
    with problems, for a key that stands twice in a file, and for more than one --configfile.
    """
    for file in files:
        read_yaml(file)
    # Of an option that is given twice, Snakemake itself keeps the last.
    if len(files) > 1 or sum(word.split("=")[0] == "--configfile" for word in arguments) > 1:
        raise RelapseError("give one --configfile: a study file is complete in itself and replaces config.yaml")
    with named(files[0]):
        return resolve(config), entry_names(config)
