"""Where a study's time went: seconds per rule, from Snakemake's benchmark files and the jobs' own stop-watches.

Reads two files per job below results/{study}/benchmarks/{rule}: a *.tsv is Snakemake's benchmark, the *.json beside it
holds {"timings": {part: seconds}, "max_rss_mb": peak}, as measured in the job: Snakemake does not see how much a
job takes that is forked elsewhere (job_server.py). Seconds are wall-clock seconds of jobs, summed; jobs that ran side
by side count each. The workflow decides which jobs belong to a study.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from relapse.runtime.errors import RelapseError

PARTS = ("imports", "load", "quantize", "attack", "score", "training")
REST = "rest"


@dataclass
class RuleTime:
    """Time of all jobs of one rule. parts: seconds by part, as far as jobs recorded them; longest: the longest job."""

    rule: str
    jobs: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    max_rss_mb: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def rest(self) -> float:
        """Seconds that no part accounts for."""
        return max(self.seconds - sum(self.parts.values()), 0.0)


def _number(text: str | None) -> float:
    """A benchmark's number; Snakemake writes - or NA for a job that ended before it was measured."""
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def read_timings(folder: Path, jobs: Sequence[Path]) -> list[RuleTime]:
    """Time per rule, the longest first.

    jobs: the stop-watch file of every job that counts, below `folder`; its benchmark lies beside it. Raises
    RelapseError for a job without either.
    """
    rules: dict[str, RuleTime] = {}
    for path in jobs:
        name = path.relative_to(folder).parts[0]
        rule = rules.setdefault(name, RuleTime(name))
        try:
            watch = json.loads(path.read_text(encoding="utf-8"))
            parts, peak = watch["timings"], watch.get("max_rss_mb", 0.0)
            with path.with_suffix(".tsv").open(newline="", encoding="utf-8") as file:
                row = next(csv.DictReader(file, delimiter="\t"))
        except (OSError, ValueError, KeyError, StopIteration) as error:
            raise RelapseError(f"{path} or the benchmark beside it cannot be read: {error!r}") from None
        seconds = _number(row.get("s"))
        rule.jobs += 1
        rule.seconds += seconds
        rule.longest = max(rule.longest, seconds)
        rule.max_rss_mb = max(rule.max_rss_mb, _number(row.get("max_rss")), peak)
        for part, part_seconds in parts.items():
            rule.parts[part] = rule.parts.get(part, 0.0) + part_seconds
    return sorted(rules.values(), key=lambda rule: (-rule.seconds, rule.rule))


def part_names(rules: list[RuleTime]) -> list[str]:
    """The parts that any rule recorded, in the order in which a job goes through them."""
    found = {part for rule in rules for part in rule.parts}
    return [part for part in PARTS if part in found] + sorted(found - set(PARTS))


def write_csv(rules: list[RuleTime], path: Path) -> None:
    """timings.csv: rule, jobs, seconds, longest, max_rss_mb, then the seconds of every part and of the rest."""
    parts = part_names(rules)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rule", "jobs", "seconds", "longest", "max_rss_mb", *parts, REST])
        for rule in rules:
            numbers = [rule.seconds, rule.longest, rule.max_rss_mb, *(rule.parts.get(part, 0) for part in parts)]
            writer.writerow([rule.rule, rule.jobs, *(f"{number:.1f}" for number in [*numbers, rule.rest])])
