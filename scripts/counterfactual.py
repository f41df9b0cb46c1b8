"""counterfactual.csv: what of every quantizer's effect is the lost update and what is noise, with intervals."""

import argparse
import json
from pathlib import Path

from relapse.analysis.counterfactual import parts, write_csv
from relapse.analysis.retained import Reader
from relapse.analysis.study import read_study
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the study's summary, as JSON")
    parser.add_argument("--metrics-dir", type=Path, required=True, help="results/{study}/metrics")
    parser.add_argument("--out", type=Path, required=True, help="counterfactual.csv")
    args = parser.parse_args()
    write_csv(list(parts(Reader(args.metrics_dir, read_study(args.settings)))), args.out)


if __name__ == "__main__":
    exit_on_error(main)
