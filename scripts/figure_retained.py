"""Figure 1 of a study, as pdf and png, from retained.csv."""

import argparse
import json
from pathlib import Path

from relapse.analysis.retained import read_csv
from relapse.analysis.study import read_study
from relapse.report import style
from relapse.report.figures import retained_figure
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=json.loads, required=True, help="corpora, seeds, methods, quantizers; as JSON"
    )
    parser.add_argument("--retained", type=Path, required=True, help="retained.csv")
    parser.add_argument("--pdf", type=Path, required=True)
    parser.add_argument("--png", type=Path, required=True)
    args = parser.parse_args()
    style.write(retained_figure(read_study(args.settings), read_csv(args.retained)), args.pdf, args.png)


if __name__ == "__main__":
    exit_on_error(main)
