"""How a question is put to a model: in MUSE's words, in a template of the user's, or as a chat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from relapse.runtime.errors import RelapseError
from relapse.runtime.settings import Settings, Text
from relapse.text.prompts import PLACE, as_prompt, few_shot_prompt, fill

CHAT, PLAIN = "chat", "plain"
Render = Callable[[list[dict[str, str]]], str]  # turns of a chat -> the text that asks for the next one


class WordingSettings(Settings):
    """Keys of every metric that asks questions."""

    prompt: (
        Annotated[
            str,
            Field(
                pattern=r"^(plain|chat|[\s\S]*\{question\}[\s\S]*)$",
                title="plain, chat, or a text that holds {question}",
            ),
        ]
        | None
    ) = Field(
        None,
        description="How a question is put. plain, or left out: as MUSE does, `Question: ...` and `Answer:` on two "
        "lines. chat: by the tokenizer's chat template, the question as the user's turn and few-shot examples as turns "
        "before it, for models that were trained on chats. A text that holds {question}: this text, with the examples "
        "in the same words.",
    )
    system_prompt: Text | None = Field(
        None, description="The system's turn at the beginning of a chat. Left out: whatever the chat template adds."
    )

    @property
    def plain_words(self) -> bool:
        """Whether questions are asked as MUSE does."""
        return self.prompt in (None, PLAIN)


@dataclass(frozen=True)
class Asked:
    """What a model is given: prompts, the texts that end an answer, and whether the tokenizer adds BOS by itself."""

    prompts: list[str]
    ends: tuple[str, ...]
    special_tokens: bool = True


def ask(
    questions: Sequence[str],
    examples: Sequence[dict],
    wording: WordingSettings,
    ends: tuple[str, ...],
    render: Render,
    ending: str = "",
) -> Asked:
    """Prompts for these questions, each behind the examples.

    ends: those of MUSE's words. In a template, an answer ends at a blank line or where the template begins again; in a
    chat the model ends its turn. render: the tokenizer's chat template; a chat holds BOS where its template writes it.
    ending: what stands behind MUSE's last "Answer:".
    """
    if wording.prompt == CHAT:
        return Asked([render(turns(question, examples, wording.system_prompt)) for question in questions], (), False)
    if wording.plain_words:
        shots = few_shot_prompt(list(examples))
        return Asked([f"{shots}{as_prompt({'question': question})}{ending}" for question in questions], ends)
    template = str(wording.prompt)
    shots = "".join(f"{fill(template, pair['question'])} {pair['answer']}\n\n" for pair in examples)
    begins = template.split(PLACE)[0].strip()
    return Asked([shots + fill(template, question) for question in questions], ("\n\n", *filter(None, [begins])))


def turns(question: str, examples: Sequence[dict], system_prompt: str | None) -> list[dict[str, str]]:
    """A chat in which the examples have been asked and answered, and the question is asked."""
    chat = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for pair in examples:
        chat += [{"role": "user", "content": pair["question"]}, {"role": "assistant", "content": pair["answer"]}]
    return [*chat, {"role": "user", "content": question}]


def renderer(tokenizer) -> Render:
    """The chat template of a loaded tokenizer.

    What is returned raises RelapseError where the tokenizer has no chat template, and where the template refuses the
    chat, as some do with a system's turn.
    """

    def render(chat: list[dict[str, str]]) -> str:
        if not tokenizer.chat_template:
            raise RelapseError(
                "prompt is chat, but the model's tokenizer has no chat template: leave prompt out, give a text that "
                "holds {question}, or add chat_template.jinja to the model's folder"
            )
        from jinja2 import TemplateError

        try:
            return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise RelapseError(f"the chat template of the model's tokenizer refuses this chat: {error}") from None

    return render
