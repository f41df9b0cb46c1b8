"""Named things that a config entry can ask for: methods, quantizer backends, metrics, corpus sources.

A thing is added by one file in the registry's package that ends in `REGISTRY.register(...)`. The registry finds the
file by importing every module of its package; what the things do is not known here.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relapse.runtime.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def did_you_mean(name: str, allowed: list[str]) -> str:
    """' Did you mean X?' for the allowed name nearest to `name`, or '' where none is near."""
    near = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


class Registry:
    """Things of one kind by name. A thing has `name` and `settings`, the class of an entry that asks for it.

    named_by: the key of an entry that names its thing; None where the entry's own name does.
    """

    def __init__(self, kind: str, package: str, named_by: str | None = None):
        self.kind = kind
        self.package = package
        self.named_by = named_by
        self._entries: dict[str, Any] = {}
        self._sources: dict[str, Path] = {}
        self._discovered = False

    def _caller(self) -> str:
        """The file of this registry's package whose import is under way: the one that registers."""
        directory = Path(importlib.import_module(self.package).__path__[0])
        frame = inspect.currentframe()  # not inspect.stack(), which reads the source of every module there is: a second
        while frame is not None:
            if Path(frame.f_code.co_filename).parent == directory:
                return frame.f_code.co_filename
            frame = frame.f_back
        raise RuntimeError(f"{self.kind} entries are registered by a file in {self.package}")

    def register(self, entry: Any) -> None:
        """Add `entry`. Raises ValueError for a name that another file has registered already."""
        if entry.name in self._entries:
            raise ValueError(f"{self.kind} {entry.name!r} is registered twice, first in {self._sources[entry.name]}")
        caller = self._caller()
        self._entries[entry.name] = entry
        self._sources[entry.name] = Path(caller).resolve()

    def _discover(self) -> None:
        if not self._discovered:
            self._discovered = True
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._discover()
        return sorted(self._entries)

    def get(self, name: str) -> Any:
        """The thing called `name`. Raises ConfigError that lists the names there are."""
        self._discover()
        if name not in self._entries:
            raise ConfigError(
                f"unknown {self.kind} {name!r}.{did_you_mean(name, self.names())} Allowed: {', '.join(self.names())}."
            )
        return self._entries[name]

    def settings(self, entry: Mapping[str, Any], name: str | None = None) -> Any:
        """An entry as an object of its thing's class. name: the thing's, where the entry does not say it.

        Raises ConfigError for what is not registered, and for keys that are wrong or missing.
        """
        return self.get(name or entry[self.named_by]).settings.of(entry)

    def source(self, name: str) -> str:
        """The file that registers `name`, relative to the repository root."""
        self.get(name)
        return str(self._sources[name].relative_to(ROOT))
