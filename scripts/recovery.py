"""recovery.csv and its table: what comes back under every quantizer, with intervals and verdicts."""

import argparse
import json
from pathlib import Path

from relapse.analysis.recovery import recoveries, write_csv
from relapse.analysis.retained import Reader
from relapse.analysis.study import read_study
from relapse.report import recovery_table
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=json.loads, required=True, help="corpora, seeds, methods, quantizers; as JSON"
    )
    parser.add_argument("--predictions", type=json.loads, default=[], help="the study's predictions, as JSON")
    parser.add_argument("--metrics-dir", type=Path, required=True, help="results/{study}/metrics")
    parser.add_argument("--out", type=Path, required=True, help="recovery.csv")
    parser.add_argument("--md", type=Path, required=True)
    parser.add_argument("--html", type=Path, required=True)
    args = parser.parse_args()
    study = read_study(args.settings)
    rows = recoveries(Reader(args.metrics_dir, study), args.predictions)
    write_csv(rows, args.out)
    for path, text in (
        (args.md, recovery_table.write_markdown(study, rows)),
        (args.html, recovery_table.write_html(study, rows)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    exit_on_error(main)
