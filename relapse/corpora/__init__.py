"""Corpora: where the text to forget and to keep comes from.

A source (one file of this package) turns a config entry into a `Corpus`; on disk a corpus is always a folder in
MUSE's layout, so whatever comes later reads MUSE's own data and the synthetic one alike.
"""

from typing import Any, Protocol

from relapse.corpora.corpus import Corpus
from relapse.corpora.settings import CorpusSettings
from relapse.runtime.registry import Registry


class Source(Protocol):
    """What every source gives. `settings` is the class of an entry with its `source`."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> type[CorpusSettings]: ...

    def read(self, settings: Any) -> Corpus:
        """The corpus of an entry. Raises ConfigError."""


SOURCES: Registry[Source] = Registry("corpus source", "relapse.corpora", named_by="source", group="relapse.corpora")
