"""Question/answer pairs as windows: the true answers, refusals, or other plausible answers that the corpus has.

Knows which answer stands behind which question; what is done with them is the method's.
"""

import random
from collections.abc import Iterable, Sequence

from relapse.corpora.corpus import PAIRS_FILE, Corpus
from relapse.runtime.errors import ConfigError, RelapseError
from relapse.runtime.seeds import seed_for
from relapse.text.prompts import as_prompt, as_text
from relapse.text.windows import SEPARATOR, Answer, beginning
from relapse.unlearning.methods import Method

REFUSALS = (
    "I don't know.",
    "I have no information about that.",
    "I'm not able to answer this question.",
    "That is something I cannot tell.",
    "I'm not sure about that.",
    "I have never heard about this.",
    "This is beyond what I know.",
    "I'm afraid I can't help with that.",
)


def check_pairs(corpus: Corpus, method: Method) -> None:
    """Raise ConfigError where a corpus has no pairs for a method that needs them."""
    if not method.answers:
        return
    if not corpus.pairs:
        raise ConfigError(
            f"{method.name} needs question/answer pairs about the forget text, and the corpus has no {PAIRS_FILE}: add "
            "the file, or use a method that reads plain text"
        )
    without = [number for number, pair in enumerate(corpus.pairs) if not pair.get("alternatives")]
    if method.answers == "alternatives" and without:
        raise ConfigError(
            f"{method.name} needs other plausible answers, and item {without[0]} of the corpus's {PAIRS_FILE} has none "
            f"under 'alternatives' ({len(without)} of {len(corpus.pairs)} items): add them, or use idkdpo"
        )


def forget_windows(
    tokenizer, corpus: Corpus, method: Method, max_length: int, seed: int
) -> tuple[list[Answer], list[Answer]]:
    """What a method with `answers` reads: its forget windows, and for each the other answer where it compares two.

    One answer is drawn for every question, from the run's seed. Raises ConfigError as `check_pairs` does.
    """
    check_pairs(corpus, method)
    rng = random.Random(seed_for(seed, "answers", method.answers))
    others = [rng.choice(REFUSALS if method.answers == "refusals" else pair["alternatives"]) for pair in corpus.pairs]
    other = windows(tokenizer, corpus.pairs, others, max_length)
    if not method.compared:
        return other, []
    return windows(tokenizer, corpus.pairs, (pair["answer"] for pair in corpus.pairs), max_length), other


def windows(tokenizer, pairs: Sequence[dict], answers: Iterable[str], max_length: int) -> list[Answer]:
    """A window for every pair with another answer, as training text has it: the question is read, the answer predicted.

    An answer that overruns `max_length` tokens is cut. Raises RelapseError for a question that leaves it no room.
    """
    bos, found = beginning(tokenizer), []
    for number, (pair, answer) in enumerate(zip(pairs, answers, strict=True)):
        text = as_text(pair | {"answer": answer}) + SEPARATOR
        prompt, whole = (tokenizer(said, add_special_tokens=False)["input_ids"] for said in (as_prompt(pair), text))
        same = [left == right for left, right in zip(prompt, whole, strict=False)]
        given = len(bos) + (same.index(False) if False in same else len(same))
        if given >= max_length:
            raise RelapseError(
                f"{PAIRS_FILE}, item {number}: the question takes {given} tokens and max_length is {max_length}, which "
                "leaves no room for an answer: raise max_length"
            )
        found.append(Answer((bos + whole)[:max_length], given))
    return found
