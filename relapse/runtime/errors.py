"""Errors that are meant for the user: what is wrong, where, and what to do.

This module ends a command-line program on such an error, and handles full memory and full disks. All other messages are
written where the error is raised.
"""

import errno
import sys
from collections.abc import Callable, Iterator

FULL = (errno.ENOSPC, errno.EDQUOT)


class RelapseError(Exception):
    """Something the user can mend. The message names the file or key and what to do."""


class ConfigError(RelapseError):
    """A wrong config entry. The message names the key, the value and what is allowed."""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def disk_is_full(error: BaseException) -> bool:
    """Whether the disk, or a quota, being full caused an error; with safetensors only the text shows it."""
    return any(getattr(link, "errno", None) in FULL or "No space left" in str(link) for link in chain(error))


def exit_on_error(main: Callable[[], None]) -> None:
    """Run a script's `main`; on a `RelapseError` print it without a traceback and exit with status 1.

    Likewise where memory or disk do not suffice.
    """
    try:
        main()
    except RelapseError as error:
        sys.exit(f"error: {error}")
    except Exception as error:
        if disk_is_full(error):
            sys.exit(f"error: no space left on the disk: {error}. Make room and run again: finished jobs are kept.")
        # torch's own class, which is not imported for this alone.
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            detail = next(iter(str(error).splitlines()), "of this machine.")
            sys.exit(
                f"error: out of memory: {detail} Use a machine or GPU with more, or one that no other process uses; "
                "compute: bfloat16 takes half."
            )
        raise
