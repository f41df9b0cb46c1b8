"""When to stop unlearning: at the first look at which the model has forgotten enough and still keeps enough.

MUSE takes the first checkpoint at which forget knowledge has fallen to retrain's level (arXiv 2407.06460). The same
kind of rule, with shares of the target's scores, sets the level in full precision here, whatever the processor. This
module decides at which steps to look, and records the scores that the caller's function measures.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it imports pydantic, which tables do without
    from relapse.unlearning.settings import StopAt

FIRST = 10  # steps before the first look, and the least between two

# Score -> whether it must fall to its share of the target's. A score that need not must stay at its share, or above it.
MUST_FALL = {"knowmem_forget": True, "knowmem_retain": False}


class StopRule:
    """Stops a run at the first look at which every score meets its share of what it was before the first step.

    stop_at: without one it never stops a run. measure: score (a key of MUST_FALL) -> its value for the model as it is.
    Looks every 10 steps at first and then whenever a tenth more steps have gone by, so that runs of very different
    length are all stopped within about a tenth of their length, and looking costs little. A look measures a score only
    where those before it meet their shares, and prints what it saw. `seen` has a mapping for every look: "step", and
    the scores that it measured.
    """

    def __init__(self, stop_at: "StopAt | None", measure: Callable[[str], float]):
        shares = dict(stop_at or ())
        self.shares = {score: shares[score] for score in MUST_FALL if shares.get(score) is not None}
        self.measure = measure
        self.target = {score: measure(score) for score in self.shares}
        self.seen: list[dict[str, float]] = []
        self.next = FIRST if self.shares else math.inf

    def __call__(self, step: int) -> bool:
        """Whether to stop after this step."""
        if step < self.next:
            return False
        self.next = step + max(FIRST, step // 10)
        look: dict[str, float] = {"step": step}
        self.seen.append(look)
        met = True
        for score in self.shares:
            look[score] = self.measure(score)
            met = self._meets(score, look[score])
            if not met:
                break
        seen = ", ".join(
            f"{score} {look[score]:.1f} of {self.target[score]:.1f}" for score in self.shares if score in look
        )
        print(f"step {step}: {seen}: {'stops here' if met else 'goes on'}", flush=True)
        return met

    def _meets(self, score: str, value: float) -> bool:
        bound = self.shares[score] * self.target[score]
        return value <= bound if MUST_FALL[score] else value >= bound

    def ended(self) -> dict:
        """How a finished run ended: measures every score once more.

        stopped_by: stop_at or steps. shares: score -> its share of the target's. unmet: the scores that miss theirs.
        """
        last = {score: self.measure(score) for score in self.shares}
        unmet = [score for score, value in last.items() if not self._meets(score, value)]
        return {
            "stopped_by": "stop_at" if self.shares and not unmet else "steps",
            "shares": {
                score: value / self.target[score] if self.target[score] else 0.0 for score, value in last.items()
            },
            "unmet": unmet,
            "looks": self.seen,
        }
