"""Importing a library without what it would import beside: seconds that every job pays.

This module makes Python take a package for missing. The caller names a package that the library can do without.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Imports in the block find none of `packages`, which stand where an optional one is tried for. Later ones do."""
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in packages if modules.setdefault(name, None) is None]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
