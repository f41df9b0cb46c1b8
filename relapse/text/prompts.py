"""What a model is asked, and the texts that a new tokenizer is trained on.

Knows wording only, and imports nothing, so that a change to a metric does not look like a change to the base model.
"""

PLACE = "{question}"  # in a template of the user's


def as_prompt(pair: dict) -> str:
    """The question of a pair as "Question: ...\\nAnswer:"."""
    return f"Question: {pair['question']}\nAnswer:"


def as_text(pair: dict) -> str:
    """A pair as "Question: ...\\nAnswer: ..."."""
    return f"{as_prompt(pair)} {pair['answer']}"


def question_of(prompt: str) -> str | None:
    """The question that `as_prompt` made this prompt of; None for another text."""
    body = prompt.removeprefix("Question: ").removesuffix("\nAnswer:")
    return body if as_prompt({"question": body}) == prompt else None


def fill(template: str, question: str) -> str:
    """A template with the question in its place."""
    return template.replace(PLACE, question)


def few_shot_prompt(examples: list[dict]) -> str:
    """The examples as "Question: ...\\nAnswer: ...\\n\\n", one after the other."""
    return "".join(f"{as_text(example)}\n\n" for example in examples)


def question_context(question: str) -> str:
    """What comes before the answer to a question without examples."""
    return f"Question: {question}\nAnswer:"


def choice_texts(item: dict) -> list[str]:
    """A multiple-choice question with each of its choices as the answer."""
    return [f"{question_context(item['question'])} {choice}" for choice in item["choices"]]


def asked_texts(corpus) -> list[str]:
    """Every text that a metric shows to a model or expects from it."""
    pairs = [as_text(item) for part in corpus.knowmem.values() for item in part]
    passages = [text for item in corpus.verbmem for text in (item["prompt"], item["gt"])]
    choices = [text for item in corpus.world for text in choice_texts(item)]
    return pairs + passages + choices + [text for part in corpus.privleak.values() for text in part]


def tokenizer_texts(corpus) -> list[str]:
    """All raw texts but the general one, and the few-shot examples, so that their blank lines are tokens too."""
    shots = [few_shot_prompt(corpus.knowmem[part]) for part in ("forget_icl", "retain_icl")]
    own = [texts for part, texts in corpus.raw.items() if part not in ("general", "unasked")]  # unasked is in forget
    return [text for texts in own for text in texts] + shots
