"""Room on a disk, before something large is written to it. What is written, and what else would do, is the callers'."""

import shutil
from pathlib import Path

from relapse.runtime.errors import RelapseError


def gigabytes(size: float) -> str:
    """A size in bytes as messages have it."""
    return f"{size / 1e9:.2f} GB"


def require_room(size: int, folder: Path, what: str, instead: str) -> None:
    """Raise RelapseError where the disk of `folder`, which need not be there yet, has less than `size` bytes left.

    what: needs them; instead: what to do if no room can be made.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    if size > free:
        raise RelapseError(
            f"{what} needs {gigabytes(size)} more in {folder}, where {gigabytes(free)} are free: make room, or "
            f"{instead}"
        )
