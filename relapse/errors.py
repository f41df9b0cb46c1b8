"""Errors that are meant for the user: what is wrong, where, and what to do.

Knows how a command-line program ends on such an error; knows nothing of the errors' causes.
"""

import sys
from collections.abc import Callable


class RelapseError(Exception):
    """Something the user can mend. The message names the file or key and says what to do."""


class ConfigError(RelapseError):
    """A wrong config entry. The message names the key, the value and what is allowed."""


def exit_on_error(main: Callable[[], None]) -> None:
    """Run a script's `main`; on a `RelapseError` print it without a traceback and exit with status 1."""
    try:
        main()
    except RelapseError as error:
        sys.exit(f"error: {error}")
