"""Where a study's time went, as csv and figure, from its benchmark files."""

import argparse
from pathlib import Path

from relapse.analysis.timings import read_timings, write_csv
from relapse.report import style
from relapse.report.time_figure import time_figure
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--benchmarks-dir", type=Path, required=True, help="results/{study}/benchmarks")
    parser.add_argument("jobs", type=Path, nargs="+", help="stop-watch file of every job that counts")
    parser.add_argument("--out", type=Path, required=True, help="timings.csv")
    parser.add_argument("--pdf", type=Path, required=True)
    parser.add_argument("--png", type=Path, required=True)
    args = parser.parse_args()
    rules = read_timings(args.benchmarks_dir, args.jobs)
    write_csv(rules, args.out)
    style.write(time_figure(rules), args.pdf, args.png)


if __name__ == "__main__":
    exit_on_error(main)
