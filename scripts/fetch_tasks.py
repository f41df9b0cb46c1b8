"""Data of lm-evaluation-harness's tasks, for later jobs: loaded once, which leaves what was downloaded in HF_HOME."""

import argparse
import json
from pathlib import Path

from relapse.metrics import METRICS
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", type=json.loads, required=True, help="entries of the harness's metrics, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="a list: metric, task, how many examples it has")
    args = parser.parse_args()
    lines = []
    for name, entry in args.metrics.items():
        for task in METRICS.get(name).load(METRICS.settings(entry, name)):
            lines.append(f"{name} {task.config.task} {len(task.eval_docs)}\n")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("".join(lines), encoding="utf-8")
    print("".join(lines), end="")


if __name__ == "__main__":
    exit_on_error(main)
