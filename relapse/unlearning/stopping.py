"""When to stop unlearning early: once the model has forgotten as much as was asked for, in full precision.

Knows at which steps to look and what was seen; what is measured is the caller's.
"""

from collections.abc import Callable

FIRST = 5  # steps before the first look, and the least between two


class StopRule:
    """Stops a run when `measure()` has fallen to `share` of what it was before the first step.

    Looks every 5 steps at first and then whenever a tenth more steps have gone by, so that runs of very different
    length are all stopped within about a tenth of their length and looking costs little. `seen` is (step, value) of
    every look.
    """

    def __init__(self, measure: Callable[[], float], share: float):
        self.measure, self.share = measure, share
        self.seen: list[tuple[int, float]] = [(0, measure())]
        self.next = FIRST

    def __call__(self, step: int) -> bool:
        if step < self.next:
            return False
        self.next = step + max(FIRST, step // 10)
        self.seen.append((step, self.measure()))
        return self.reached

    @property
    def reached(self) -> bool:
        """Whether the last look saw enough forgetting."""
        return self.seen[-1][1] <= self.share * self.seen[0][1]
