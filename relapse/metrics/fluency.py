"""Fluency (the paper's Flu): is what the model writes varied, or does it repeat itself?

Entropy of the n-grams of a greedy continuation, as the evaluations of ROME (arXiv 2202.05262) and RWKU (arXiv
2406.10890) weigh it, over words split at white space, or characters where a script has none: theirs come
from NLTK's tokenizer and differ a little.
"""

import math
from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from relapse.metrics import METRICS, Evaluated, Score
from relapse.metrics.bootstrap import mean_score
from relapse.metrics.generation import generate
from relapse.runtime.settings import Count, Settings
from relapse.text.words import written_words

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
    max_new_tokens: Count = Field(
        128,
        description="Longest continuation in tokens. Fluency is 100 (2/3 H2 + 4/3 H3) / 2 of its words, with H2 "
        "and H3 the entropies in bits of its bigrams and trigrams, and grows with its length.",
    )


class Fluency:
    """`fluency`: 100 times the mean over texts of (2/3 H2 + 4/3 H3) / 2, H2 and H3 the entropy of bigrams and trigrams.

    The texts continue the beginnings of the corpus's privleak retain texts, greedily. The more tokens are generated,
    the larger the entropy can become: compare only scores with the same `max_new_tokens`.
    """

    name = "fluency"
    settings = FluencySettings

    def records(self, run: Evaluated, settings: FluencySettings) -> list[dict]:
        """One record per text: prompt, generated, score (100 times its weighted entropy)."""
        prompts = [beginning(run.tokenizer, text, settings.prompt_tokens) for text in run.corpus.privleak["retain"]]
        generated = generate(run.model, run.tokenizer, prompts, settings.max_new_tokens, run.batch_size)
        return [
            {"id": f"retain/{number}", "prompt": prompt, "generated": text, "score": 100 * fluency(text)}
            | run.corpus.privleak_group("retain", number)
            for number, (prompt, text) in enumerate(zip(prompts, generated, strict=True))
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
