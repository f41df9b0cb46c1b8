"""Retained knowledge of every method, and the headline, from the per-example records of a study."""

import argparse
import json
from pathlib import Path

from relapse.analysis.headline import headline
from relapse.analysis.retained import Reader, retained, write_csv
from relapse.analysis.study import read_statements, read_study
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=json.loads, required=True, help="corpora, seeds, methods, quantizers; as JSON"
    )
    parser.add_argument("--metrics-dir", type=Path, required=True, help="results/{study}/metrics")
    parser.add_argument("--corpora-dir", type=Path, required=True, help="results/{study}/corpora")
    parser.add_argument("--out", type=Path, required=True, help="retained.csv")
    parser.add_argument("--headline", type=Path, required=True, help="headline.txt")
    args = parser.parse_args()
    study = read_study(args.settings)
    reader = Reader(args.metrics_dir, study)
    rows = list(retained(reader))
    write_csv(rows, args.out)
    text = headline(study, rows, reader, read_statements(args.corpora_dir, study))
    args.headline.parent.mkdir(parents=True, exist_ok=True)
    args.headline.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    exit_on_error(main)
