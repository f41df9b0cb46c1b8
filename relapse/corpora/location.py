"""Where data made elsewhere lies: a local folder, or a pinned data set on the Hub.

Knows the config keys that say so; reading what lies there is the sources' own.
"""

from relapse.runtime.errors import ConfigError


def options(folder: str, example: str) -> dict[str, dict]:
    """The keys path, id and revision. `folder` describes the local folder, `example` is an id."""
    return {
        "path": {"type": "string", "default": "", "description": folder},
        "id": {"type": "string", "default": "", "description": f"Hub data set, such as {example}."},
        "revision": {
            "type": "string",
            "pattern": "^([0-9a-f]{40})?$",
            "title": "a commit's 40 hexadecimal digits, since a branch or tag can move",
            "default": "",
            "description": "Commit of the Hub data set; needed with id.",
        },
    }


def described(settings: dict) -> str:
    """The origin in words. Raises ConfigError when neither, or both, of path and id are given, or no revision."""
    if bool(settings["path"]) == bool(settings["id"]):
        raise ConfigError("a corpus made elsewhere takes either `path` or `id` with `revision`")
    if settings["id"] and not settings["revision"]:
        raise ConfigError(f"corpus {settings['id']}: pin a `revision` (a commit of the data set)")
    return settings["path"] or f"{settings['id']} at {settings['revision'][:12]}"
