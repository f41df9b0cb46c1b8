"""Grids of methods: one entry of a study that stands for a model at each combination of its values.

This module names the points, and finds where in the study file a key of a point was written.
"""

import itertools
from typing import Any

from relapse.study.messages import Key, Problem, is_number, mapping


def expand(config: dict) -> tuple[dict, dict[str, str], list[Problem]]:
    """`config` with an entry for each point of a method's grid, expanded name -> its entry's name, and what is wrong.

    A grid that is no mapping of lists stays where it is, for the schema to refuse.
    """
    methods = mapping(config.get("methods"))
    expanded: dict[str, Any] = {name: entry for name, entry in methods.items() if not _has_grid(entry)}
    grids: dict[str, str] = {}
    problems: list[Problem] = []
    for name, entry in methods.items():
        if not _has_grid(entry):
            continue
        common = {"method": name} | {key: value for key, value in entry.items() if key != "grid"}
        twice = [key for key in entry["grid"] if key in entry]
        problems += [(("methods", name, "grid", key), f"{key} stands in the entry too; give it once.") for key in twice]
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
    grid = mapping(entry).get("grid")
    return (
        isinstance(grid, dict) and bool(grid) and all(isinstance(values, list) and values for values in grid.values())
    )


def _point_part(key: str, value: Any) -> str:
    """A grid's value in a name: lr5e-05 for a number, float32 for text."""
    if is_number(value):
        return f"{key}{value:g}"
    return value if isinstance(value, str) else f"{key}{str(value).lower()}"


def as_written(key: Key, grids: dict[str, str], written: dict) -> Key:
    """Where the user finds a key of the expanded study: in the grid that it comes from."""
    if len(key) < 2 or key[0] != "methods" or key[1] not in grids:
        return key
    name, rest = grids[key[1]], key[2:]
    entry = written["methods"][name]
    if rest[:1] == ("method",) and "method" not in entry and "method" not in entry["grid"]:
        return ("methods", name)
    return ("methods", name, "grid", *rest) if rest and rest[0] in entry["grid"] else ("methods", name, *rest)
