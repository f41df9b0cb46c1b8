"""costs.csv: what each unlearning run took, from its stop-watch and from training.json.

models.csv has the settings of each run, timings.csv the time of the whole study.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from relapse.runtime.errors import RelapseError


@dataclass(frozen=True)
class Cost:
    """One run. seconds: processor time of all its steps and the looks between; max_rss_mb: peak of its process."""

    corpus: str
    model: str
    seed: int
    steps: int
    seconds: float
    seconds_per_step: float
    max_rss_mb: float


def read_costs(benchmarks: Path, models: Path, runs: Sequence[str]) -> list[Cost]:
    """The costs of runs, each named corpus/model/seedN.

    benchmarks: the folder that has {run}.json, as a run's stop-watch wrote it; models: the one that has
    {run}/training.json. Raises RelapseError where one of the two cannot be read.
    """
    costs = []
    for run in runs:
        files = benchmarks / f"{run}.json", models / run / "training.json"
        try:
            watch, training = (json.loads(file.read_text(encoding="utf-8")) for file in files)
            seconds, steps, peak = watch["processor"]["training"], training["steps"], watch["max_rss_mb"]
        except (OSError, ValueError, KeyError) as error:
            raise RelapseError(f"{files[0]} or {files[1]} cannot be read: {error!r}") from None
        corpus, model, seed = run.split("/")
        place = corpus, model, int(seed.removeprefix("seed"))
        costs.append(Cost(*place, steps, round(seconds, 2), round(seconds / steps, 5), round(peak, 1)))
    return costs


def write_csv(costs: Sequence[Cost], path: Path) -> None:
    """costs.csv, a line a run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Cost)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, costs))
