"""What the paper reports beside what a study measured, from metrics.csv."""

import argparse
import json
from pathlib import Path

from relapse.analysis.study import read_study
from relapse.report import comparison_table
from relapse.report.published import compare
from relapse.report.tables import read_cells
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="what tables state about the study, as JSON")
    parser.add_argument("--published", type=json.loads, required=True, help="corpus -> the paper's name, as JSON")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.csv")
    for kind in ("csv", "md", "tex", "html"):
        parser.add_argument(f"--{kind}", type=Path, required=True)
    args = parser.parse_args()
    study = read_study(args.settings)
    rows = compare(study, read_cells(args.metrics, study), args.published)
    for path, text in (
        (args.csv, comparison_table.write_csv(rows)),
        (args.md, comparison_table.write_markdown(study, rows)),
        (args.tex, comparison_table.write_tex(study, rows)),
        (args.html, comparison_table.write_html(study, rows)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    exit_on_error(main)
