"""SURE, its controls and its base, as pdf and png, from metrics.csv."""

import argparse
import json
from pathlib import Path

import pandas as pd

from relapse.analysis.study import read_study
from relapse.report import style
from relapse.report.sure_figure import sure_figure
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the study's summary, as JSON")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.csv")
    parser.add_argument("--pdf", type=Path, required=True)
    parser.add_argument("--png", type=Path, required=True)
    args = parser.parse_args()
    style.write(sure_figure(read_study(args.settings), pd.read_csv(args.metrics)), args.pdf, args.png)


if __name__ == "__main__":
    exit_on_error(main)
