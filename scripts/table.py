"""Table 1, 2 or 3 of a study in four formats, from metrics.csv."""

import argparse
import json
from pathlib import Path

from relapse.analysis.models_table import unmet
from relapse.analysis.study import asked_without_chat, read_statements, read_study
from relapse.report import table_page, tables
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=json.loads, required=True, help="corpora, seeds, methods, quantizers, metrics; as JSON"
    )
    parser.add_argument("--table", type=int, choices=[1, 2, 3], default=1, help="the paper's number")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.csv")
    parser.add_argument("--models", type=Path, required=True, help="models.csv")
    parser.add_argument("--models-dir", type=Path, required=True, help="results/{study}/models")
    parser.add_argument("--corpora-dir", type=Path, required=True, help="results/{study}/corpora")
    for kind in ("csv", "md", "tex", "html"):
        parser.add_argument(f"--{kind}", type=Path, required=True)
    args = parser.parse_args()
    study = read_study(args.settings)
    study = {1: lambda whole: whole, 2: tables.quantizer_study, 3: tables.sure_study}[args.table](study)
    cells = tables.read_cells(args.metrics, study)
    remarks = tables.notes(study, cells, read_statements(args.corpora_dir, study))
    remarks += [
        f"{corpus}: the target has a chat template, and KnowMem asks without it; `prompt: chat` asks with it."
        for corpus in asked_without_chat(args.models_dir, study)
    ]
    remarks += [f"{model} {how}." for model, how in unmet(args.models).items() if model in study.methods]
    for path, text in (
        (args.csv, tables.write_csv(study, cells)),
        (args.md, tables.write_markdown(study, cells, remarks)),
        (args.tex, tables.write_tex(study, cells, remarks, args.table)),
        (args.html, table_page.write_html(study, cells, remarks, args.table)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    exit_on_error(main)
