"""ROUGE-L F1 without stemmer, as MUSE and the paper compute it (rouge-score)."""

from functools import cache

from relapse.runtime.imports import without


@cache
def _scorer():
    # For classifiers of nltk, of which it is the stemmer that would be used.
    with without("sklearn", "scipy"):
        from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)


def rouge_l(truth: str, generated: str) -> float:
    """ROUGE-L F1 of `generated` against `truth`, times 100."""
    return 100 * _scorer().score(truth, generated)["rougeL"].fmeasure
