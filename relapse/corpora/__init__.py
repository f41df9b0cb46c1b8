"""Corpora: where the text to forget and to keep comes from.

A source (one file of this package) turns a config entry into a `Corpus`; on disk a corpus is always a folder in
MUSE's layout, so whatever comes later reads MUSE's own data and the synthetic one alike.
"""

from relapse.runtime.registry import Registry

SOURCES = Registry("corpus source", "relapse.corpora", named_by="source", group="relapse.corpora")
