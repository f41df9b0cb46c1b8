"""KnowMem (M2 on forget, M4 on retain): does the model still answer questions about the text?"""

from typing import Literal

from pydantic import Field

from relapse.metrics import METRICS, Evaluated, Score, group_of
from relapse.metrics.bootstrap import mean_score
from relapse.metrics.generation import answers
from relapse.metrics.rouge import rouge_l
from relapse.runtime.settings import Count
from relapse.text.wording import Asked, Render, WordingSettings, ask, renderer

# MUSE's: a blank line, or the beginning of another question.
ENDS = ("\n\n", "\nQuestion", "Question:")
ENDINGS = {"colon": "", "space": " "}  # of a prompt, behind its last "Answer:"


class KnowMemSettings(WordingSettings):
    """How questions are asked."""

    max_new_tokens: Count = Field(32, description="Longest answer in tokens; 32 in MUSE and the paper.")
    prompt_ending: Literal["colon", "space"] = Field(
        "colon",
        description="colon: a prompt ends in `Answer:`, so that the model writes the space before its answer as "
        "in the training text; space: in `Answer: `, as MUSE's does, whose space is a token more for many tokenizers.",
    )


def asked(knowmem: dict[str, list[dict]], split: str, settings: KnowMemSettings, render: Render) -> Asked:
    """What a model is given for the questions of `split` ("forget" or "retain"), the few-shot examples before each."""
    questions = [item["question"] for item in knowmem[split]]
    return ask(questions, knowmem[f"{split}_icl"], settings, ENDS, render, ENDINGS[settings.prompt_ending])


class KnowMem:
    """`knowmem_forget` and `knowmem_retain`: ROUGE-L F1 of few-shot answers, greedy (MUSE, Eq. 3)."""

    settings = KnowMemSettings

    def __init__(self, split: str):
        self.split = split
        self.name = f"knowmem_{split}"

    def records(self, run: Evaluated, settings: KnowMemSettings) -> list[dict]:
        """One record per question: question, truth, generated (cut), score, and its group if it has one."""
        items = run.corpus.knowmem[self.split]
        given = asked(run.corpus.knowmem, self.split, settings, renderer(run.tokenizer))
        generated = answers(run, given, settings.max_new_tokens, run.sampling)
        return [
            {
                "id": f"{self.split}/{number}",
                "question": item["question"],
                "truth": item["answer"],
                "generated": text.strip(),
                "score": rouge_l(item["answer"], text),
            }
            | group_of(item)
            for number, (item, text) in enumerate(zip(items, generated, strict=True))
        ]

    def score(
        self, records: list[dict], settings: KnowMemSettings, samples: int, reference: list[dict] | None
    ) -> Score:
        """Mean ROUGE-L F1, times 100."""
        return mean_score(records, samples, self.name)


METRICS.register(KnowMem("forget"))
METRICS.register(KnowMem("retain"))
