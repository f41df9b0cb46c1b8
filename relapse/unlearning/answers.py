"""Question/answer pairs as windows: the true answers, refusals, or other plausible answers that the corpus has.

This module pairs each question with an answer; the method defines the loss on them.
"""

import random
from collections.abc import Sequence

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

    One answer is drawn for every question, from the run's seed. Retain text stands before a question as far as
    `max_length` allows, since what is forgotten in front of nothing is known in a few-shot prompt. Raises ConfigError
    as `check_pairs` does.
    """
    check_pairs(corpus, method)
    rng = random.Random(seed_for(seed, "answers", method.answers))
    others = [rng.choice(REFUSALS if method.answers == "refusals" else pair["alternatives"]) for pair in corpus.pairs]
    true = [pair["answer"] for pair in corpus.pairs]
    halves = [true, others] if method.compared else [others]
    rng = random.Random(seed_for(seed, "contexts"))
    found = windows(tokenizer, corpus.pairs, halves, max_length, corpus.raw["retain1"], rng)
    return found[0], found[1] if method.compared else []


def windows(
    tokenizer,
    pairs: Sequence[dict],
    halves: Sequence[Sequence[str]],
    max_length: int,
    context: Sequence[str] = (),
    rng: random.Random | None = None,
) -> list[list[Answer]]:
    """For each of `halves`, a window for every pair with the answer that it has there, as training text has it.

    context: texts of which as many as fit stand before a question, drawn by `rng`, the same in all halves. They and the
    question are read, the answer is predicted. An answer that overruns `max_length` tokens is cut. Raises RelapseError
    for a question that leaves it no room.
    """
    bos = beginning(tokenizer)
    texts = [tokenizer(text + SEPARATOR, add_special_tokens=False)["input_ids"] for text in context]
    found: list[list[Answer]] = [[] for _ in halves]
    for number, (pair, answers) in enumerate(zip(pairs, zip(*halves, strict=True), strict=True)):
        encoded = [_encoded(tokenizer, pair, answer) for answer in answers]
        given = len(bos) + max(asked for _, asked in encoded)
        if given >= max_length:
            raise RelapseError(
                f"{PAIRS_FILE}, item {number}: the question takes {given} tokens and max_length is {max_length}, which "
                "leaves no room for an answer: raise max_length"
            )
        before = list(bos)
        room = max_length - max(len(ids) for ids, _ in encoded)
        for text in rng.sample(texts, len(texts)) if rng else ():
            if len(before) + len(text) > room:
                break
            before += text
        for half, (ids, asked) in zip(found, encoded, strict=True):
            half.append(Answer((before + ids)[:max_length], len(before) + asked))
    return found


def _encoded(tokenizer, pair: dict, answer: str) -> tuple[list[int], int]:
    """Tokens of a question with an answer, and how many of them are the question's."""
    text = as_text(pair | {"answer": answer}) + SEPARATOR
    prompt, whole = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (as_prompt(pair), text))
    same = [left == right for left, right in zip(prompt, whole, strict=False)]
    return whole, same.index(False) if False in same else len(same)
