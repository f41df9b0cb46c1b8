"""VerMem (M1): does the model continue a passage of the forget text word for word?

MUSE decodes greedily, the paper's code samples, and its tables mix the two. `verbmem_forget` is what a study reads its
results from; `verbmem_forget_sampled` beside it is what the paper's sampled cells are held against.
"""

from typing import Annotated, Literal

from pydantic import Field

from relapse.metrics import METRICS, Evaluated, Score, group_of
from relapse.metrics.bootstrap import mean_score
from relapse.metrics.generation import Sampling, cut, generate
from relapse.metrics.rouge import rouge_l
from relapse.runtime.errors import RelapseError
from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Count, Positive, Settings, Whole
from relapse.text.words import words


class SampledVerbMem(Settings):
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
        "model: as the model's generation_config.json says, which the paper's code leaves in force.",
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
        prompts = [item["prompt"] for item in run.corpus.verbmem]
        sampling = run.sampling
        if not sampling and (not isinstance(settings, VerbMemSettings) or settings.decoding == "sample"):
            seed = seed_for(run.seed, "verbmem_forget")
            top_p = settings.top_p
            if top_p == "model":
                top_p = getattr(run.model.generation_config, "top_p", None) or 1.0
            sampling = Sampling(settings.temperature, seed, settings.top_k, top_p)
        ends = [settings.until] if settings.until else []
        generated = generate(run.model, run.tokenizer, prompts, settings.max_new_tokens, run.batch_size, ends, sampling)
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
