"""KnowMem (M2 on forget, M4 on retain): does the model still answer questions about the text?"""

from typing import Literal

from pydantic import Field

from relapse.metrics import METRICS, Evaluated, Score, group_of
from relapse.metrics.bootstrap import mean_score
from relapse.metrics.generation import generate
from relapse.metrics.rouge import rouge_l
from relapse.runtime.settings import Count, Settings
from relapse.text.prompts import prompts

# MUSE's: a blank line, or the beginning of another question.
ENDS = ("\n\n", "\nQuestion", "Question:")


class KnowMemSettings(Settings):
    """How questions are asked."""

    max_new_tokens: Count = Field(32, description="Longest answer in tokens; 32 in MUSE and the paper.")
    prompt_ending: Literal["colon", "space"] = Field(
        "colon",
        description="colon: a prompt ends in `Answer:`, so that the model writes the space before its answer as "
        "in the training text; space: in `Answer: `, as MUSE's does, whose space is a token more for many tokenizers.",
    )


class KnowMem:
    """`knowmem_forget` and `knowmem_retain`: ROUGE-L F1 of few-shot answers, greedy (MUSE, Eq. 3)."""

    settings = KnowMemSettings

    def __init__(self, split: str):
        self.split = split
        self.name = f"knowmem_{split}"

    def records(self, run: Evaluated, settings: KnowMemSettings) -> list[dict]:
        """One record per question: question, truth, generated (cut), score, and its group if it has one."""
        items = run.corpus.knowmem[self.split]
        generated = generate(
            run.model,
            run.tokenizer,
            prompts(run.corpus.knowmem, self.split, settings.prompt_ending),
            settings.max_new_tokens,
            run.batch_size,
            ends=ENDS,
            sampling=run.sampling,
        )
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
