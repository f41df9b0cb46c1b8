"""Recovered against surviving share, and recovery over learning rate and storage, as pdf and png."""

import argparse
import json
from pathlib import Path

from relapse.analysis.study import read_study
from relapse.report import style
from relapse.report.rows import read_cells
from relapse.report.survival_figures import lr_figure, survival_figure
from relapse.runtime.errors import exit_on_error

FIGURES = {"survival": survival_figure, "lr": lr_figure}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the study's summary, as JSON")
    parser.add_argument("--figure", choices=FIGURES, required=True)
    parser.add_argument("--recovery", type=Path, required=True, help="recovery.csv")
    parser.add_argument("--absorption", type=Path, required=True, help="absorption.csv")
    parser.add_argument("--pdf", type=Path, required=True)
    parser.add_argument("--png", type=Path, required=True)
    args = parser.parse_args()
    study = read_study(args.settings)
    style.write(FIGURES[args.figure](study, read_cells(study, args.recovery, args.absorption)), args.pdf, args.png)


if __name__ == "__main__":
    exit_on_error(main)
