"""Metrics: what a model still knows. One file per metric; the paper's M1 to M4.

A metric turns a model and a corpus into per-example records, and records into a score with its interval. Both halves
are apart so that intervals can be drawn again without the model. One that can fail for what it is asked has a `check`
too, which is called before any metric is scored.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relapse.runtime.registry import Registry

if TYPE_CHECKING:  # it imports torch, which tables and figures do without
    from relapse.metrics.generation import Sampling
    from relapse.runtime.batching import BatchSize

METRICS = Registry("metric", "relapse.metrics", group="relapse.metrics")
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

    model: object
    tokenizer: object
    corpus: object
    batch_size: "BatchSize"
    seed: int
    sampling: "Sampling | None" = None


def group_of(item: dict) -> dict[str, str]:
    """What a record keeps of the item that was asked, so that the bootstrap can draw a group together; {} of none."""
    return {"group": item["group"]} if "group" in item else {}
