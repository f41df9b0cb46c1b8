"""Progress of a long loop: a line now and then, with the time that is left."""

import time


class Progress:
    """Prints `step/steps`, the losses and the remaining time, at most about `lines` times over the whole run."""

    def __init__(self, steps: int, lines: int = 20):
        self.steps, self.every, self.start = steps, max(1, steps // lines), time.monotonic()
        self.history: list[dict[str, float]] = []

    def __call__(self, step: int, **losses: float) -> None:
        """Hear of a finished `step` (from 1)."""
        if step % self.every and step != self.steps:
            return
        self.history.append({"step": step} | losses)
        seconds = time.monotonic() - self.start
        values = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        left = seconds / step * (self.steps - step)
        print(f"step {step}/{self.steps}  {values}  {seconds:.0f} s, {left:.0f} s left", flush=True)
