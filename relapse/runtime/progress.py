"""The progress that a long job reports, and how long its parts took.

This module has the clocks and prints the lines.
"""

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Progress:
    """Prints `step/steps`, the losses and the remaining time: at the first step, and about `lines` times in all."""

    def __init__(self, steps: int, lines: int = 20):
        self.steps, self.every, self.start = steps, max(1, steps // lines), time.monotonic()
        self.history: list[dict[str, float]] = []

    def __call__(self, step: int, **losses: float) -> None:
        """Hear of a finished `step` (from 1)."""
        if step % self.every and step not in (1, self.steps):
            return
        self.history.append({"step": step} | losses)
        seconds = time.monotonic() - self.start
        values = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        left = seconds / step * (self.steps - step)
        print(f"step {step}/{self.steps}  {values}  {seconds:.0f} s, {left:.0f} s left", flush=True)


class Stopwatch:
    """Seconds of the parts of a process; starting Python and importing this far count as `imports`.

    In a forked job (job_server.py) the clock starts when its client requested the job.
    """

    def __init__(self) -> None:
        import psutil

        since = float(os.environ.get("RELAPSE_JOB_SINCE") or psutil.Process(os.getpid()).create_time())
        self.seconds = {"imports": time.time() - since}
        self.processor: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to part `name`."""
        start, used = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.processor[name] = self.processor.get(name, 0.0) + time.process_time() - used

    def write(self, path: Path | None) -> None:
        """Write {"timings": {part: seconds}, "processor": {part: seconds of it}, "max_rss_mb": peak of main memory}.

        Nothing without a `path`. Processor time does not depend on what else the machine does.
        """
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB
            path.write_text(
                json.dumps({"timings": self.seconds, "processor": self.processor, "max_rss_mb": peak}) + "\n"
            )
