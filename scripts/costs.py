"""costs.csv: seconds, steps and memory of every unlearning run."""

import argparse
from pathlib import Path

from relapse.analysis.costs import read_costs, write_csv
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--benchmarks-dir", type=Path, required=True, help="results/{study}/benchmarks/unlearn")
    parser.add_argument("--models-dir", type=Path, required=True, help="results/{study}/models")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("runs", nargs="+", help="the runs, as corpus/model/seedN")
    args = parser.parse_args()
    write_csv(read_costs(args.benchmarks_dir, args.models_dir, args.runs), args.out)


if __name__ == "__main__":
    exit_on_error(main)
