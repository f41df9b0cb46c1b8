"""Where on the grid the changed weights lie, as pdf and png."""

import argparse
import json
from pathlib import Path

from relapse.analysis.study import read_study
from relapse.report import style
from relapse.report.grid_figure import grid_figure, middle_rate
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the study's summary, as JSON")
    parser.add_argument("--pdf", type=Path, required=True)
    parser.add_argument("--png", type=Path, required=True)
    parser.add_argument("absorptions", type=Path, nargs="+", help="JSON files written by scripts.absorption")
    args = parser.parse_args()
    study = read_study(args.settings)
    models = middle_rate(study)
    read = (json.loads(path.read_text()) for path in args.absorptions)
    style.write(grid_figure(study, [found for found in read if found["model"] in models]), args.pdf, args.png)


if __name__ == "__main__":
    exit_on_error(main)
