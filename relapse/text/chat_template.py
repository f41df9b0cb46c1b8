"""The chat template beside a tokenizer: whether a folder has one. Nothing is imported, so that tables can ask."""

import json
from pathlib import Path


def has_chat_template(folder: Path) -> bool:
    """Whether a tokenizer's folder has a chat template: a file of its own, or a key of tokenizer_config.json."""
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(json.loads(config.read_text(encoding="utf-8")).get("chat_template"))
