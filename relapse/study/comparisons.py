"""What a study states about its models beside how they are made: twins in float32, and predictions.

This module checks the models and quantizers that they name; analysis/recovery.py evaluates them.
"""

from collections.abc import Iterator

from relapse.runtime.registry import did_you_mean
from relapse.study.messages import Problem, mapping

NOT_COMPARED = ("storage", "twin")  # in which a model and its twin may differ


def twins(filled: dict, grids: dict[str, str]) -> Iterator[Problem]:
    """What is wrong with the methods' twins; those that are sound become names of models.

    grids: name of a model -> the entry with a grid that it comes from. Where a twin is such an entry, a model's twin is
    the point of it that differs in storage alone; the points of a grid that are float32 themselves need none.
    """
    methods = mapping(filled.get("methods"))
    known = list(dict.fromkeys([*methods, *grids.values()]))
    for name, entry in methods.items():
        twin = mapping(entry).get("twin")
        if not isinstance(twin, str):
            continue
        if twin not in known:
            yield (
                ("methods", name, "twin"),
                f"no method is called {twin!r}.{did_you_mean(twin, known)} Allowed: {', '.join(known)}.",
            )
            continue
        if entry.get("storage") == "float32":
            if name in grids:
                del entry["twin"]
            else:
                yield ("methods", name, "twin"), "leave it out: this model's own storage is float32."
            continue
        named = [other for other in methods if twin in (other, grids.get(other))]
        same = [other for other in named if not _differences(entry, mapping(methods[other]))]
        if same:
            entry["twin"] = same[0]
        elif len(named) == 1:
            found = ", ".join(_differences(entry, mapping(methods[named[0]])))
            yield (
                ("methods", name, "twin"),
                f"{named[0]} must have storage float32 and else be the same as this entry; look at: {found}.",
            )
        else:
            yield ("methods", name, "twin"), f"{twin} has no model that is the same but for storage float32."


def _differences(entry: dict, twin: dict) -> list[str]:
    """The keys in which `twin` is not what a twin of `entry` has to be."""
    keys = sorted({*entry, *twin} - set(NOT_COMPARED))
    return [key for key in keys if entry.get(key) != twin.get(key)] + ["storage"] * (twin.get("storage") != "float32")


def predictions(filled: dict, grids: dict[str, str]) -> Iterator[Problem]:
    """Predictions about what the study does not have or does not score, and two about the same."""
    listed = filled.get("predictions")
    methods, attacks = mapping(filled.get("methods")), mapping(filled.get("attacks"))
    quantizers = mapping(filled.get("quantizers")) | attacks
    allowed = {"model": list(methods), "quantizer": [name for name in quantizers if name != "full"]}
    seen = set()
    for place, item in enumerate(listed if isinstance(listed, list) else []):
        names = {key: name for key in allowed if isinstance(name := mapping(item).get(key), str)}
        if len(names) < len(allowed):
            continue
        unknown = [key for key, name in names.items() if name not in allowed[key]]
        for key in unknown:
            yield (
                ("predictions", place, key),
                f"no {key} is called {names[key]!r}.{did_you_mean(names[key], allowed[key])} "
                f"Allowed: {', '.join(allowed[key])}.",
            )
        if unknown:
            continue
        model, quantizer = names["model"], names["quantizer"]
        applied = mapping(quantizers[quantizer]).get("methods")
        if isinstance(applied, list) and model not in applied and grids.get(model) not in applied:
            yield (
                ("predictions", place, "model"),
                f"{model} is not scored under {quantizer}: add it to "
                f"{'attacks' if quantizer in attacks else 'quantizers'}.{quantizer}.methods.",
            )
        what = model, quantizer, str(item.get("metric"))
        if what in seen:
            yield ("predictions", place), f"{' '.join(what)} is predicted twice."
        seen.add(what)
