"""Download the data of lm-evaluation-harness's tasks into HF_HOME, where later jobs read them."""

import argparse
import json
from pathlib import Path

from relapse.metrics import METRICS
from relapse.metrics.utility import HarnessMetric
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", type=json.loads, required=True, help="entries of the harness's metrics, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="a list: metric, task, how many examples it has")
    args = parser.parse_args()
    lines = []
    for name, entry in args.metrics.items():
        metric = METRICS.get(name)
        assert isinstance(metric, HarnessMetric)  # as the study's graph picks them
        for task in metric.load(METRICS.settings(entry, name)):
            lines.append(f"{name} {task.config.task} {len(task.eval_docs)}\n")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("".join(lines), encoding="utf-8")
    print("".join(lines), end="")


if __name__ == "__main__":
    exit_on_error(main)
