"""The `evaluation` of a study: how every metric is run."""

from typing import Any

from pydantic import Field

from relapse.runtime.settings import Count, Settings


class Evaluation(Settings):
    """How every metric is run."""

    batch_size: Count = Field(
        32,
        description="Examples in one forward pass. Scores under bnb-int8 depend on it, since LLM.int8() chooses its "
        "outlier columns over a whole batch; other scores do not, beyond rounding. It is recorded with the scores.",
    )
    quantizers_per_job: Count = Field(
        1,
        description="How many quantizers one process scores a model under. 1: changing a quantizer reruns nothing "
        "else, and a cluster runs quantizers in parallel. More: studies of small models are faster, since starting a "
        "process takes longer than scoring, but changing a quantizer reruns all that share its process. No score "
        "changes.",
    )
    bootstrap_samples: int = Field(
        2000, ge=1, le=1_000_000, description="Resamples of the examples behind the 95 % intervals of one seed."
    )

    def scoring(self) -> dict[str, Any]:
        """What scores depend on, as plain values."""
        return {key: value for key, value in self.plain().items() if key != "quantizers_per_job"}
