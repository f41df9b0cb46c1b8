"""absorption.csv: what of every update survives every quantizer, in one table."""

import argparse
import csv
import json
from pathlib import Path

from relapse.runtime.errors import exit_on_error

COLUMNS = (
    *("corpus", "model", "seed", "quantizer"),
    *("surviving", "predicted", "predicted_low", "predicted_high"),
    *("outside", "changed", "unchanged_value", "unchanged_code"),
    *("edge", "zero_cell", "deviation", "beyond_edge", "half_step", "p10", "p50", "p90", "p99", "steps", "stopped_by"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("absorptions", type=Path, nargs="+", help="JSON files written by scripts.absorption")
    args = parser.parse_args()
    with args.out.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for path in args.absorptions:
            found = json.loads(path.read_text())
            row = found | (found["change_over_local_step"] or {})
            table.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})


if __name__ == "__main__":
    exit_on_error(main)
