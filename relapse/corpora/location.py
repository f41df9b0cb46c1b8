"""Where data made elsewhere lies: a local folder, or a pinned data set on the Hub.

This module defines the config keys; each corpus source reads its own files.
"""

from pydantic import Field

from relapse.corpora.settings import CorpusSettings
from relapse.runtime.errors import ConfigError


class Located(CorpusSettings):
    """A corpus made elsewhere."""

    path: str = Field("", description="Local folder with the corpus's files.")
    id: str = Field("", description="Hub data set.")
    revision: str = Field(
        "",
        pattern="^([0-9a-f]{40})?$",
        title="a commit's 40 hexadecimal digits, since a branch or tag can move",
        description="Commit of the Hub data set; needed with id.",
    )


def described(settings: Located) -> str:
    """The origin in words. Raises ConfigError when neither, or both, of path and id are given, or no revision."""
    if bool(settings.path) == bool(settings.id):
        raise ConfigError("a corpus made elsewhere takes either `path` or `id` with `revision`")
    if settings.id and not settings.revision:
        raise ConfigError(f"corpus {settings.id}: pin a `revision` (a commit of the data set)")
    return settings.path or f"{settings.id} at {settings.revision[:12]}"
