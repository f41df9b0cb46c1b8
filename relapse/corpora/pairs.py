"""pairs/forget.json: question/answer pairs of the forget text, some with other plausible answers."""

from relapse.runtime.errors import ConfigError


def with_alternatives(pairs: list[dict], items: list[dict], origin: str) -> list[dict]:
    """The pairs, each with the `alternatives` that its item of the file has.

    Raises ConfigError naming file and item where these are no list of texts, or hold the answer itself.
    """
    for number, item in enumerate(items):
        others = item.get("alternatives", [])
        if not isinstance(others, list) or not all(isinstance(other, str) and other.strip() for other in others):
            raise ConfigError(f"{origin}: item {number} has {others!r} under 'alternatives', expected a list of texts")
        if item["answer"] in others:
            raise ConfigError(f"{origin}: item {number} has its own answer {item['answer']!r} under 'alternatives'")
    return [
        pair | ({"alternatives": item["alternatives"]} if item.get("alternatives") else {})
        for pair, item in zip(pairs, items, strict=True)
    ]
