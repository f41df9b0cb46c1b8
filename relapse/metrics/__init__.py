"""Metrics: what a model still knows. One file per metric; the paper's M1 to M4.

A metric turns a model and a corpus into per-example records, and records into a score with its interval. Both halves
are apart so that intervals can be drawn again without the model. One that can fail for what it is asked has a `check`
too, which is called before any metric is scored.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from relapse.runtime.registry import Registry

if TYPE_CHECKING:  # these import torch or pydantic, which tables and figures do without
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from relapse.corpora.corpus import Corpus
    from relapse.metrics.generation import Sampling
    from relapse.runtime.batching import BatchSize
    from relapse.runtime.settings import Settings

METRICS: "Registry[Metric]" = Registry("metric", "relapse.metrics", group="relapse.metrics")
# M1 to M4, what a plain evaluation computes.
PAPER_METRICS = ("verbmem_forget", "knowmem_forget", "privleak", "knowmem_retain")


@dataclass(frozen=True)
class Score:
    """A score times 100 with its 95 % bootstrap interval over `n` examples, those of one group drawn together."""

    value: float
    ci_low: float
    ci_high: float
    n: int


@dataclass(frozen=True)
class Evaluated:
    """What a metric may look at: a loaded model, its tokenizer, the corpus, and how to run.

    seed names the random draws; batch_size is the number of examples in one forward pass, or fewer
    where they do not fit into memory. sampling: how answers are drawn, or None for the metric's own decoding.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    corpus: "Corpus"
    batch_size: "BatchSize"
    seed: int
    sampling: "Sampling | None" = None


class Metric(Protocol):
    """What every metric gives. Some have `check(run, settings, reference)` too, which raises before any is scored."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> "type[Settings]": ...

    def records(self, run: Evaluated, settings: Any) -> list[dict]:
        """One record per example, with its `id` and `score`."""

    def score(self, records: list[dict], settings: Any, samples: int, reference: list[dict] | None) -> Score:
        """The score of all records. samples: of the bootstrap. reference: the retrain model's records, if any."""


def group_of(item: dict) -> dict[str, str]:
    """What a record keeps of the item that was asked, so that the bootstrap can draw a group together; {} of none."""
    return {"group": item["group"]} if "group" in item else {}
