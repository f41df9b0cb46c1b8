"""VerMem (M1): does the model continue a passage of the forget text word for word?

MUSE decodes greedily, the paper's code samples, and its tables mix the two. `verbmem_forget` is what a study reads its
results from; `verbmem_forget_sampled` beside it is what the paper's sampled cells are held against.
"""

from typing import Annotated, Literal

from pydantic import Field

from relapse.metrics import METRICS, Evaluated, Score, group_of
from relapse.metrics.bootstrap import mean_score
from relapse.metrics.generation import Sampling, answers, cut
from relapse.metrics.rouge import rouge_l
from relapse.runtime.errors import RelapseError
from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Count, Positive, Whole
from relapse.text.prompts import question_of
from relapse.text.wording import Asked, Render, WordingSettings, ask, renderer
from relapse.text.words import words


class SampledVerbMem(WordingSettings):
    """How a passage is continued; the keys of verbmem_forget_sampled."""

    max_new_tokens: Count = Field(
        128, description="Tokens to generate; the truth is cut to as many. 128 in MUSE and the paper."
    )
    until: str = Field(
        "",
        description="Text that ends a continuation, such as the blank line that stands behind an answer in training "
        "text; so it and what follows are not scored. Empty: a continuation ends with its tokens, as in MUSE.",
    )
    temperature: Positive = Field(0.9, description="Temperature of decoding: sample; 0.9 in the paper's code.")
    top_k: Whole = Field(
        50,
        description="decoding: sample draws from the so many likeliest tokens, 0 from all; 50 in the paper's code, "
        "where it is the default of transformers.",
    )
    top_p: Literal["model"] | Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="decoding: sample draws from the fewest likeliest tokens whose probabilities add up to this. "
        "model: the value in the model's generation_config.json, which the paper's code leaves in force.",
    )
    truth_bos: bool = Field(
        False,
        description="Whether BOS counts among the max_new_tokens tokens that the truth is cut to, as in MUSE and the "
        "paper's code: with a tokenizer that begins with one, the truth is then a token shorter.",
    )


class VerbMemSettings(SampledVerbMem):
    """The keys of verbmem_forget."""

    decoding: Literal["greedy", "sample"] = Field(
        "greedy", description="greedy as MUSE does, or sample at `temperature` as the paper's code does."
    )


def asked(items: list[dict], settings: SampledVerbMem, name: str, render: Render) -> Asked:
    """What a model is given to continue: passages as they are; or questions, as TOFU has them, in the study's words.

    name: the metric's. Raises RelapseError for words of the study's where an item is no question.
    """
    ends = (settings.until,) if settings.until else ()
    if settings.plain_words:
        return Asked([item["prompt"] for item in items], ends)
    questions = [question_of(item["prompt"]) for item in items]
    if None in questions:
        raise RelapseError(
            f"{name}: prompt is {settings.prompt!r}, but item {questions.index(None)} of verbmem/forget.json is a "
            "passage to continue and no question: leave prompt out"
        )
    given = ask([question for question in questions if question is not None], (), settings, ends, render)
    return Asked(given.prompts, (*given.ends, *ends), given.special_tokens)


class VerbMem:
    """ROUGE-L F1 of the continuation of a forget prompt against the truth (MUSE, Eq. 2)."""

    def __init__(self, name: str, settings: type[SampledVerbMem]):
        self.name, self.settings = name, settings

    def check(self, run: Evaluated, settings: SampledVerbMem, reference: object) -> None:
        """Raise RelapseError for a truth of which cutting leaves no word."""
        for number, (item, truth) in enumerate(zip(run.corpus.verbmem, self._truths(run, settings), strict=True)):
            if not words(truth):
                raise RelapseError(
                    f"{self.name}: verbmem/forget.json, item {number}: no word is left of its truth {item['gt']!r} "
                    f"before until ({settings.until!r}) and within max_new_tokens ({settings.max_new_tokens}): "
                    "nothing that ROUGE could compare an answer with. Raise max_new_tokens, or mend the item."
                )

    def _truths(self, run: Evaluated, settings: SampledVerbMem) -> list[str]:
        """What every continuation is compared with: as many tokens of it, before the text that ends one."""
        ends = [settings.until] if settings.until else []
        bos = settings.truth_bos
        ids = [run.tokenizer(item["gt"], add_special_tokens=bos)["input_ids"] for item in run.corpus.verbmem]
        kept = [its[: settings.max_new_tokens] for its in ids]
        return [cut(run.tokenizer.decode(its, skip_special_tokens=True), ends) for its in kept]

    def records(self, run: Evaluated, settings: SampledVerbMem) -> list[dict]:
        """One record per passage: prompt, truth, generated, score, and its group if it has one."""
        given = asked(run.corpus.verbmem, settings, self.name, renderer(run.tokenizer))
        sampling = run.sampling
        if not sampling and (not isinstance(settings, VerbMemSettings) or settings.decoding == "sample"):
            seed = seed_for(run.seed, "verbmem_forget")
            top_p = settings.top_p
            if top_p == "model":
                top_p = getattr(run.model.generation_config, "top_p", None) or 1.0
            sampling = Sampling(settings.temperature, seed, settings.top_k, top_p)
        generated = answers(run, given, settings.max_new_tokens, sampling)
        records = []
        answered = zip(run.corpus.verbmem, self._truths(run, settings), generated, strict=True)
        for number, (item, truth, text) in enumerate(answered):
            records.append(
                {
                    "id": f"forget/{number}",
                    "prompt": item["prompt"],
                    "truth": truth,
                    "generated": text,
                    "score": rouge_l(truth, text),
                }
                | group_of(item)
            )
        return records

    def score(self, records: list[dict], settings: SampledVerbMem, samples: int, reference: list[dict] | None) -> Score:
        """Mean ROUGE-L F1, times 100."""
        return mean_score(records, samples, self.name)


METRICS.register(VerbMem("verbmem_forget", VerbMemSettings))
METRICS.register(VerbMem("verbmem_forget_sampled", SampledVerbMem))
