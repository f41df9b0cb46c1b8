"""One figure of a study, as pdf and png, from the files that it reads."""

import argparse
import importlib
import json
from pathlib import Path

from relapse.analysis.study import read_study
from relapse.report import style
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the study's summary, as JSON")
    parser.add_argument("--figure", required=True, help="NAME of relapse/report/NAME_figure.py")
    parser.add_argument("--pdf", type=Path, required=True)
    parser.add_argument("--png", type=Path, required=True)
    parser.add_argument("files", type=Path, nargs="+", help="what the figure reads")
    args = parser.parse_args()
    # By name, so that a change to one figure does not draw the others again.
    figure = importlib.import_module(f"relapse.report.{args.figure}_figure")
    style.write(figure.draw(read_study(args.settings), args.files), args.pdf, args.png)


if __name__ == "__main__":
    exit_on_error(main)
