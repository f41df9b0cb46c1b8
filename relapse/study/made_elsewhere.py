"""What is wrong with a study's unlearned models that were made elsewhere, as far as folders on this machine tell.

This module reads headers and tokenizers only. It checks that all weights exist, are not quantized, and have the
target's names and shapes. scripts/link_unlearned.py makes the checks that need the weights themselves (NaN, a model
that equals the target).
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from relapse.models import adapter, matching, stored
from relapse.models.files import location, read_model
from relapse.models.tokenizer import TOKENIZERS
from relapse.runtime.errors import RelapseError
from relapse.runtime.settings import Settings
from relapse.study.messages import Problem
from relapse.unlearning.elsewhere import LocalUnlearned


def problems(methods: Mapping[str, Settings], origin: Settings | None) -> Iterator[Problem]:
    """What is wrong with sound entries of methods. origin: the models entry that the target has its shapes from."""
    target = _folder(origin)
    for name, entry in methods.items():
        if isinstance(entry, LocalUnlearned):
            try:
                check(Path(entry.path), target)
            except RelapseError as error:
                yield ("methods", name), str(error)


def _folder(origin: Settings | None) -> Path | None:
    """A folder with the target's names, shapes and tokens; None where none is here yet."""
    if origin:
        with suppress(RelapseError):  # half downloaded: the download goes on, and reports what it cannot mend
            folder = location(origin)
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
