"""models.csv: model -> resolved settings."""

import argparse
import json
from pathlib import Path

from relapse.analysis.settings import write_csv
from relapse.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="models and methods of the study, as JSON")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    write_csv(args.settings["models"] | args.settings["methods"], args.out)


if __name__ == "__main__":
    exit_on_error(main)
