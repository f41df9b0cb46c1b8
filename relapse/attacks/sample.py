"""Sampling: leak@k (arXiv 2511.04934), how good the best of k answers at temperature T is expected to be.

Greedy decoding shows one answer. Of n sampled ones the mean of the best of k is estimated without bias: with the scores
s_1 <= ... <= s_n, s_i is the best of C(i - 1, k - 1) of the C(n, k) subsets. A model that never knew the text gains by
k guesses too: compare with retrain.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

from pydantic import Field, model_validator

from relapse.attacks import ATTACKS, Attack, Attacked, AttackSettings
from relapse.metrics import METRICS
from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Count, Positive, Settings, Whole

SAMPLED = ("verbmem_forget", "knowmem_forget")  # the metrics that knowledge is read from


class SampleSettings(AttackSettings):
    """An entry of this attack."""

    k: Count = Field(description="The score of a question is the expected best of k answers.")
    samples: Count = Field(description="n: how many answers are sampled for each question, at least k.")
    temperature: Positive = Field(1.0, description="T: answers are drawn from softmax(logits / T).")
    top_k: Whole = Field(0, description="Draw from this many of the likeliest tokens; 0: from all.")

    @model_validator(mode="after")
    def _enough(self) -> "SampleSettings":
        if self.k > self.samples:
            raise ValueError(f"k is {self.k}, must be at most samples, {self.samples}")
        return self


def best_of(scores: Sequence[float], k: int) -> float:
    """Unbiased estimate of the expected largest of k scores from n >= k of them, with the weights of this module."""
    n = len(scores)
    return sum(comb(place, k - 1) * score for place, score in enumerate(sorted(scores))) / comb(n, k)


class Sample(Attack):
    """The model as it is, asked n times."""

    name = "sample"
    changes_weights = False
    settings = SampleSettings
    examples = ({"k": 2, "samples": 3}, {"k": 1, "samples": 1, "temperature": 0.7, "top_k": 10})

    def metrics(self, metrics: Mapping[str, Settings]) -> dict[str, Settings]:
        """VerMem and KnowMem on forget; nothing else is answered by sampling."""
        return {name: entry for name, entry in metrics.items() if name in SAMPLED}

    def takes(self, shape: Any, settings: SampleSettings, width: int, on_gpu: bool) -> tuple[float, float, int]:
        return 0.0, 0.0, settings.samples

    def records(self, name: str, attacked: Attacked, entry: Settings, settings: SampleSettings) -> list[dict]:
        """A record per question: its score is the estimate, `scores` those of its samples, `generated` the best."""
        from relapse.metrics.generation import Sampling

        run, drawn = attacked.run, []
        for number in range(settings.samples):
            sampling = Sampling(settings.temperature, seed_for(run.seed, "leak", name, number), settings.top_k)
            drawn.append(METRICS.get(name).records(dataclasses.replace(run, sampling=sampling), entry))
        records = []
        for answers in zip(*drawn, strict=True):
            scores = [answer["score"] for answer in answers]
            best = max(answers, key=lambda answer: answer["score"])
            records.append(best | {"score": best_of(scores, settings.k), "scores": scores})
        return records


ATTACKS.register(Sample())
