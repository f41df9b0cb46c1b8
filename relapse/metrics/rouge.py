"""ROUGE-L F1 without stemmer, as MUSE and the paper compute it (rouge-score), for every script.

rouge-score's own words are the runs of [a-z0-9], so that a Russian or Chinese text has none and "Björk" has two; ours
are the same for ASCII text (relapse.text.words).
"""

from functools import cache

from relapse.runtime.imports import without
from relapse.text.words import words


class _Words:
    """What rouge-score asks for its words."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@cache
def _scorer():
    # For classifiers of nltk, of which it is the stemmer that would be used.
    with without("sklearn", "scipy"):
        from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


def rouge_l(truth: str, generated: str) -> float:
    """ROUGE-L F1 of `generated` against `truth`, times 100."""
    return 100 * _scorer().score(truth, generated)["rougeL"].fmeasure
