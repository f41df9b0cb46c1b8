"""Recovery per quantizer and calibration text, as pdf and png, from recovery.csv."""

import argparse
import json
from pathlib import Path

from relapse.analysis.recovery import read_csv
from relapse.analysis.study import read_study
from relapse.report import style
from relapse.report.calibration_figure import calibration_figure
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the study's summary, as JSON")
    parser.add_argument("--recovery", type=Path, required=True, help="recovery.csv")
    parser.add_argument("--pdf", type=Path, required=True)
    parser.add_argument("--png", type=Path, required=True)
    args = parser.parse_args()
    style.write(calibration_figure(read_study(args.settings), read_csv(args.recovery)), args.pdf, args.png)


if __name__ == "__main__":
    exit_on_error(main)
