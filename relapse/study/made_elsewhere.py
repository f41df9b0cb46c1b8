"""What is wrong with a study's unlearned models that were made elsewhere, as far as folders on this machine tell.

Knows headers and tokenizers alone: that all weights are there, not quantized, and of the target's names and shapes.
What takes reading the weights themselves (NaN, a model that equals the target) is scripts/link_unlearned.py's.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from relapse.models import adapter, matching, stored
from relapse.models.files import TOKENIZERS, location, read_model
from relapse.runtime.errors import RelapseError
from relapse.study.messages import mapping
from relapse.study.preflight import Key, Problem, Sound, started_from
from relapse.unlearning.elsewhere import is_made_elsewhere


def problems(config: dict, bad: Sequence[Key]) -> Iterator[Problem]:
    """The problems of these entries of a configuration with its defaults; parts under a key in `bad` are left out."""
    sound = Sound(bad)
    target = _folder_of_shapes(config, sound)
    for name, entry in mapping(config.get("methods")).items():
        if sound("methods", name) and is_made_elsewhere(entry) and entry["source"] == "local":
            try:
                check(Path(entry["path"]), target)
            except RelapseError as error:
                yield ("methods", name), str(error)


def _folder_of_shapes(config: dict, sound: Sound) -> Path | None:
    """A folder with the target's names, shapes and tokens: its own or its base's; None where none is here yet."""
    name = started_from(config, "target")
    entry = mapping(mapping(config.get("models")).get(name))
    if entry and sound("models", name):
        with suppress(RelapseError):  # half downloaded: the download goes on, and says what it cannot mend
            folder = location(entry)
            if folder and read_model(folder):
                return folder
    return None


def check(folder: Path, target: Path | None) -> None:
    """Raise RelapseError for a folder that is no unlearned version of the target. target: None where it is not here."""
    if adapter.is_adapter(folder):
        adapter.check(folder)
    else:
        own = any((folder / name).is_file() for name in TOKENIZERS)
        read_model(folder, folder if own or target is None else target)
        stored.must_be_plain(folder)
        if target:
            matching.must_have_shapes(target, folder)
    if target:
        matching.must_have_tokens(target, folder)
