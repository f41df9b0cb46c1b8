"""models.csv: model -> resolved settings, and how every unlearning run ended."""

import argparse
import json
from pathlib import Path

from relapse.analysis.models_table import endings, write_csv
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=json.loads, required=True, help="corpora, seeds, models and methods of the study, as JSON"
    )
    parser.add_argument("--models-dir", type=Path, required=True, help="results/{study}/models")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    study = args.settings
    ended = list(endings(args.models_dir, study["corpora"], list(study["methods"]), study["seeds"]))
    write_csv(study["models"] | study["methods"], ended, args.out)


if __name__ == "__main__":
    exit_on_error(main)
