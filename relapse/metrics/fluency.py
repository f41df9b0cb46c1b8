"""Fluency (the paper's Flu): is what the model writes varied, or does it repeat itself?

Entropy of the n-grams of a greedy continuation, as the evaluations of ROME (arXiv 2202.05262) and RWKU (arXiv
2406.10890) weigh it, over words split at white space, or characters where a script has none: theirs come
from NLTK's tokenizer and differ a little.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from relapse.corpora.corpus import Corpus
from relapse.metrics import METRICS, Evaluated, Score
from relapse.metrics.bootstrap import mean_score
from relapse.metrics.generation import generate
from relapse.runtime.errors import ConfigError
from relapse.runtime.settings import Count, Settings, Text
from relapse.text.words import written_words

NO_GROUP: dict[str, str] = {}
WEIGHTS = {2: 2 / 3, 3: 4 / 3}  # n -> weight of the entropy of n-grams; the mean of the two weighted entropies


def entropy(words: Sequence[str], n: int) -> float:
    """Entropy in bits of the n-grams of `words`; 0 where there is none."""
    grams = Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))
    total = sum(grams.values())
    return sum(count / total * math.log2(total / count) for count in grams.values())


def fluency(text: str) -> float:
    """(2/3 H2 + 4/3 H3) / 2 in bits, of the words of `text` as they are written; 0 for fewer than two words."""
    words = written_words(text)
    return sum(weight * entropy(words, n) for n, weight in WEIGHTS.items()) / len(WEIGHTS)


class FluencySettings(Settings):
    """How texts are continued."""

    prompt_tokens: Count = Field(16, description="Tokens of each privleak retain text that the model continues.")
    instructions: Text | None = Field(
        None,
        description="JSON file with a list of {instruction: ...}, such as RWKU's fluency.json, which the model "
        "continues in place of these texts.",
    )
    max_new_tokens: Count = Field(
        128,
        description="Longest continuation in tokens. Fluency is 100 (2/3 H2 + 4/3 H3) / 2 of its words, with H2 "
        "and H3 the entropies in bits of its bigrams and trigrams, and grows with its length.",
    )


def continued(corpus: Corpus, settings: FluencySettings) -> list[str]:
    """The texts that are continued, from their beginnings or, for instructions, whole.

    Raises ConfigError for a file that is not there or holds no instructions.
    """
    if not settings.instructions:
        return corpus.privleak["retain"]
    path = Path(settings.instructions)
    try:
        found = [item["instruction"] for item in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"instructions: {path} is no list of {{instruction: ...}}: {error!r}") from None
    if not found or not all(isinstance(text, str) and text.strip() for text in found):
        raise ConfigError(f"instructions: {path} has no instruction, or an empty one")
    return found


class Fluency:
    """`fluency`: 100 times the mean over texts of (2/3 H2 + 4/3 H3) / 2, H2 and H3 the entropy of bigrams and trigrams.

    The texts continue the beginnings of the corpus's privleak retain texts, or a file's instructions, greedily. The
    more tokens are generated, the larger the entropy can become: compare only scores with the same `max_new_tokens`.
    """

    name = "fluency"
    settings = FluencySettings

    def records(self, run: Evaluated, settings: FluencySettings) -> list[dict]:
        """One record per text: prompt, generated, score (100 times its weighted entropy)."""
        texts = continued(run.corpus, settings)
        if settings.instructions:
            prompts, groups = texts, [NO_GROUP] * len(texts)
        else:
            prompts = [beginning(run.tokenizer, text, settings.prompt_tokens) for text in texts]
            groups = [run.corpus.privleak_group("retain", number) for number in range(len(texts))]
        generated = generate(run.model, run.tokenizer, prompts, settings.max_new_tokens, run.batch_size)
        return [
            {"id": f"retain/{number}", "prompt": prompt, "generated": text, "score": 100 * fluency(text)} | group
            for number, (prompt, text, group) in enumerate(zip(prompts, generated, groups, strict=True))
        ]

    def score(
        self, records: list[dict], settings: FluencySettings, samples: int, reference: list[dict] | None
    ) -> Score:
        """Mean over the texts, times 100."""
        return mean_score(records, samples, self.name)


def beginning(tokenizer, text: str, tokens: int) -> str:
    """The first `tokens` tokens of `text`, as text."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][:tokens]
    return tokenizer.decode(ids)


METRICS.register(Fluency())
