"""metrics.csv: every score of a study in one long table."""

import argparse
import csv
import json
from pathlib import Path

from relapse.runtime.errors import exit_on_error

COLUMNS = ("corpus", "model", "seed", "quantizer", "metric", "value", "ci_low", "ci_high", "n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("scores", type=Path, nargs="+", help="JSON files written by scripts.evaluate")
    args = parser.parse_args()
    with args.out.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for path in args.scores:
            result = json.loads(path.read_text())
            for metric, score in result["scores"].items():
                table.writerow(result | {"metric": metric} | score)


if __name__ == "__main__":
    exit_on_error(main)
