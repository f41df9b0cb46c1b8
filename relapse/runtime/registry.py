"""Named things that a config entry can ask for: methods, quantizer backends, metrics, corpus sources.

A thing is added by one file in the registry's package that ends in `REGISTRY.register(...)`. The registry finds the
file by importing every module of its package, and every module that an installed package names as an entry point of
the registry's group (`relapse.methods`, `relapse.quantizers`, `relapse.metrics`, `relapse.corpora`). What the things do
is not known here.
"""

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from relapse.runtime.errors import ConfigError

if TYPE_CHECKING:  # it imports pydantic, which some jobs do without
    from relapse.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def did_you_mean(name: str, allowed: list[str]) -> str:
    """' Did you mean X?' for the allowed name nearest to `name`, or '' where none is near."""
    near = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


class Named(Protocol):
    """A thing: `name`, and `settings`, the class of an entry that asks for it."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> "type[Settings]": ...


Thing = TypeVar("Thing", bound=Named)


class Registry(Generic[Thing]):
    """Things of one kind by name.

    named_by: the key of an entry that names its thing; None where the entry's own name does. group: the entry points
    by which other packages register things.
    """

    def __init__(self, kind: str, package: str, named_by: str | None = None, group: str | None = None):
        self.kind = kind
        self.package = package
        self.named_by = named_by
        self.group = group
        self._entries: dict[str, Thing] = {}
        self._sources: dict[str, Path] = {}
        self._discovered = False
        self._module: str | None = None  # of the entry point that is being loaded

    def _caller(self) -> str:
        """The file whose import is under way: of this registry's package, or the module of an entry point."""
        if self._module is not None:
            spec = importlib.util.find_spec(self._module)
            if spec and spec.origin:
                return spec.origin
        directory = Path(importlib.import_module(self.package).__path__[0])
        frame = inspect.currentframe()  # not inspect.stack(), which reads the source of every module there is: a second
        while frame is not None:
            if Path(frame.f_code.co_filename).parent == directory:
                return frame.f_code.co_filename
            frame = frame.f_back
        raise RuntimeError(f"{self.kind} entries are registered by a file in {self.package}")

    def register(self, entry: Thing) -> None:
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
            for point in entry_points(group=self.group) if self.group else ():
                self._load(point)

    def _load(self, point: EntryPoint) -> None:
        """Import the module of an entry point, which registers its things. Raises ConfigError where that fails."""
        self._module = point.module
        try:
            point.load()
        except Exception as error:  # whatever somebody else's module does
            package = point.dist.name if point.dist else "of an entry point"
            raise ConfigError(
                f"the package {package} registers the {self.kind} {point.name!r}, and importing {point.module} "
                f"failed: {type(error).__name__}: {error}. Update or uninstall it"
            ) from error
        finally:
            self._module = None

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._discover()
        return sorted(self._entries)

    def get(self, name: str) -> Thing:
        """The thing called `name`. Raises ConfigError that lists the names there are."""
        self._discover()
        if name not in self._entries:
            raise ConfigError(
                f"unknown {self.kind} {name!r}.{did_you_mean(name, self.names())} Allowed: {', '.join(self.names())}."
            )
        return self._entries[name]

    def settings(self, entry: Mapping[str, Any], name: str | None = None) -> Any:
        """An entry as an object of its thing's class. name: the thing's, where the entry does not name it.

        Raises ConfigError for what is not registered, and for keys that are wrong or missing.
        """
        if not name:
            assert self.named_by is not None
            name = entry[self.named_by]
        return self.get(name).settings.of(entry)

    def source(self, name: str) -> str:
        """The file that registers `name`: relative to the repository root, or the absolute path of one elsewhere."""
        self.get(name)
        source = self._sources[name]
        return str(source.relative_to(ROOT) if source.is_relative_to(ROOT) else source)
