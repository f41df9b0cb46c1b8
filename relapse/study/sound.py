"""What is sound in a study with problems: it is looked at more closely, so that all problems are reported at once."""

from collections.abc import Sequence
from typing import Any

from relapse.runtime.errors import ConfigError
from relapse.runtime.settings import Settings
from relapse.study.messages import Key, Problem, mapping
from relapse.study.settings import MODELS, REGISTRIES, Models, StudySettings
from relapse.unlearning import elsewhere


class Sound:
    """Which parts of a configuration have no problem yet. bad: the keys of those that have."""

    def __init__(self, bad: Sequence[Key]):
        self.bad = list(bad)

    def __call__(self, *key: str | int) -> bool:
        """Whether nothing is wrong with a part, nor inside it."""
        return not any(wrong[: len(key)] == key or key[: len(wrong)] == wrong for wrong in self.bad)


def partial(config: dict, sound: Sound) -> tuple[StudySettings, list[Problem]]:
    """The sound part of a configuration as objects, and what their classes refuse, which `sound` then knows as bad.

    An entry with a wrong key becomes an object without it; one of which nothing is sound is left out.
    """
    problems: list[Problem] = []
    found: dict[str, Any] = {section: {} for section in ("models", *REGISTRIES)}
    for section, objects in found.items():
        for name, entry in mapping(config.get(section)).items():
            kept = {key: value for key, value in mapping(entry).items() if sound(section, name, key)}
            settings = _class_of(section, name, kept) if kept or sound(section, name) else None
            if settings is None:
                continue
            try:
                objects[name] = settings.of(kept) if sound(section, name) else settings.model_construct(**kept)
            except ConfigError as error:
                problems.append(((section, name), str(error)))
                sound.bad.append((section, name))
    models = Models.model_construct(**found.pop("models"))
    compute: Any = config["compute"] if sound("compute") else "float32"
    return StudySettings.model_construct(models=models, compute=compute, **found), problems


def _class_of(section: str, name: str, entry: dict) -> type[Settings] | None:
    """The class of an entry; None where the key that decides it is not sound."""
    if section == "models":
        return MODELS.get(str(entry.get("source")))
    if section == "methods" and elsewhere.is_made_elsewhere(entry):
        return elsewhere.SOURCES.get(entry["source"])
    registry = REGISTRIES[section]
    thing = entry.get(registry.named_by) if registry.named_by else name
    return registry.get(thing).settings if thing is not None else None
