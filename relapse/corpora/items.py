"""What an item of a corpus's files must hold: its texts, choices and group.

This module checks single items and raises ConfigError naming file and item. muse.py finds the files.
"""

from typing import Any

from relapse.runtime.errors import ConfigError
from relapse.text.words import words


def _group(item: object, number: int, origin: str) -> dict[str, str]:
    """{"group": ...}: whom an item is about, which intervals are drawn by; {} for an item without one."""
    group = item.get("group") if isinstance(item, dict) else None
    if group is None:
        return {}
    if not isinstance(group, str) or not group.strip():
        raise ConfigError(f"{origin}: item {number} has {group!r} under 'group', expected a text")
    return {"group": group}


def check_items(items: list, keys: tuple[str, ...], origin: str, truth: str = "") -> list[dict[str, str]]:
    """Items with a text under every one of `keys`. truth: the key whose words answers are compared with."""
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise ConfigError(f"{origin}: item {number} is a {type(item).__name__}, expected an object with {keys}")
        for key in keys:
            if not isinstance(item.get(key), str) or not item[key].strip():
                raise ConfigError(f"{origin}: item {number} has no text under {key!r}; it has {sorted(item)}")
            _must_be_unicode(item[key], f"{origin}: item {number}")
        if truth and not words(item[truth]):
            raise ConfigError(
                f"{origin}: item {number} has no word under {truth!r}, only {item[truth]!r}: nothing that ROUGE could "
                "compare an answer with. Write it in words, or leave the item out."
            )
    return [{key: item[key] for key in keys} | _group(item, number, origin) for number, item in enumerate(items)]


def check_texts(items: list, origin: str) -> list[str]:
    """Texts, either plain strings or MUSE-on-the-Hub's {"text": ...} objects."""
    texts: list[Any] = [item.get("text") if isinstance(item, dict) else item for item in items]
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"{origin}: item {number} is not a non-empty text")
        _must_be_unicode(text, f"{origin}: item {number}")
    return texts


def _must_be_unicode(text: str, where: str) -> None:
    """Raise ConfigError for half of a surrogate pair, which JSON can escape and UTF-8 cannot hold."""
    lone = next((character for character in text if "\ud800" <= character <= "\udfff"), None)
    if lone:
        raise ConfigError(
            f"{where} is no Unicode text: it holds {lone!a}, half of a character (a surrogate). Was it cut by bytes?"
        )


def text_groups(items: list, origin: str) -> list[str]:
    """The group of each text; none where not every text has one."""
    groups = [_group(item, number, origin) for number, item in enumerate(items)]
    return [its["group"] for its in groups] if all(groups) else []


def check_choices(items: list, origin: str) -> list[dict]:
    """Multiple-choice items: a question, at least two different choices, and the index of the true one."""
    for number, item in enumerate(items):
        keys = item if isinstance(item, dict) else {}
        question, choices, answer = keys.get("question"), keys.get("choices"), keys.get("answer")
        if not isinstance(question, str) or not question.strip():
            raise ConfigError(f"{origin}: item {number} has no text under 'question'")
        texts = choices if isinstance(choices, list) and all(isinstance(c, str) and c.strip() for c in choices) else []
        if len(set(texts)) < len(texts) or len(texts) < 2:
            raise ConfigError(f"{origin}: item {number} needs at least two different texts under 'choices'")
        if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(texts):
            raise ConfigError(
                f"{origin}: item {number} has {answer!r} under 'answer', expected the index of the true choice, "
                f"0 to {len(texts) - 1}"
            )
    return [
        {key: item[key] for key in ("question", "choices", "answer")} | _group(item, number, origin)
        for number, item in enumerate(items)
    ]
