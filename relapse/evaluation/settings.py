"""The `evaluation` of a study: how every metric is run."""

from typing import Any

from pydantic import Field

from relapse.runtime.settings import Count, Settings


class Evaluation(Settings):
    """How every metric is run."""

    batch_size: Count = Field(
        32,
        description="Examples in one forward pass. Recorded with the scores: bnb-int8 chooses its outlier columns over "
        "a whole batch, so its scores depend on it; the others' do not, beyond rounding.",
    )
    quantizers_per_job: Count = Field(
        1,
        description="Quantizers that one process scores a model under. 1: a changed quantizer reruns nothing else, and "
        "a cluster runs them side by side. More: a small model's study is faster, since starting a process takes "
        "longer than scoring; a changed quantizer then reruns those that share its process. Changes no score.",
    )
    bootstrap_samples: int = Field(
        2000, ge=1, le=1_000_000, description="Resamples of the examples behind the 95 % intervals of one seed."
    )

    def scoring(self) -> dict[str, Any]:
        """What scores depend on, as plain values."""
        return {key: value for key, value in self.plain().items() if key != "quantizers_per_job"}
