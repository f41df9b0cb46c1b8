"""The table of reported and reproduced numbers, as csv, Markdown, LaTeX and HTML.

A line for every model and quantizer, and for every metric what the paper reports, what the study measured, their
difference, and an independent group's number. published.py finds the cells that belong together.
"""

import csv
import html
import io
from collections.abc import Sequence

from relapse.analysis.study import UTILITY_METRICS, Study
from relapse.report.published import Comparison, asks_rwku
from relapse.report.table_page import STYLE, first_column
from relapse.report.tables import EMPTY, TITLES, heading, number, tex

OWN_STYLE = """
td.beyond { background: rgba(213, 94, 0, .28); font-weight: 600; }
td.unlike { color: #666; }
"""
COLUMNS = ("Reported", "Reproduced", "Difference", "Independent")
CSV_COLUMNS = (
    "table,corpus,model,quantizer,metric,reported,transcriptions,reproduced,low,high,difference,beyond,independent,"
    "unlike,note"
)


def remarks(study: Study, rows: Sequence[Comparison]) -> list[str]:
    """What a reader must know beside the numbers."""
    known = [row for row in rows if row.beyond is not None]
    beyond = sum(row.beyond is True for row in known)
    reported = [row for row in rows if row.reported is not None]
    single = sum(row.transcriptions == 1 for row in reported)
    unlike = sorted({words for row in rows for words in row.unlike})
    lines = [
        "Reported: the paper (arXiv 2410.16454), as far as its cells could be found; a cell that could not is empty. "
        f"*: known from one transcription only ({single} of {len(reported)}).",
        "Reproduced: this study, with its interval. Difference: reproduced - reported. "
        f"!: the reported value lies outside the interval ({beyond} of {len(known)} that were measured alike).",
        "Independent: a second group's runs of 2026, decoded alike; one seed, calibrated on text of their own.",
    ]
    if unlike:
        lines.append(f"In brackets: not measured alike ({'; '.join(unlike)}).")
    if utility := [
        TITLES[metric][1] for metric in study.metrics if metric in UTILITY_METRICS and not asks_rwku(study, metric)
    ]:
        lines.append(
            f"Not compared: {', '.join(utility)}. The paper's are measured on RWKU's own subsets and prompts, TriviaQA "
            "by F1; lm-evaluation-harness's tasks, and the texts that this study continues, are others."
        )
    notes = dict.fromkeys(f"{row.model} / {row.quantizer}: {row.note}." for row in rows if row.note)
    notes |= dict.fromkeys(
        f"Independent {row.model} / {row.quantizer}: {row.independent_note}." for row in rows if row.independent_note
    )
    return lines + list(notes)


def write_csv(rows: Sequence[Comparison]) -> str:
    """One line a published cell; what is not known is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS.split(","))
    for row in rows:
        cell = row.reproduced
        measured = [f"{x:.2f}" for x in (cell.value, cell.low, cell.high)] if cell else [""] * 3
        measured.append("" if row.difference is None else f"{row.difference:.2f}")
        beyond = {None: "", True: "yes", False: "no"}[row.beyond]
        reported, theirs = ("" if value is None else f"{value:g}" for value in (row.reported, row.independent))
        line = [row.table, row.corpus, row.model, row.quantizer, row.metric, reported, row.transcriptions]
        notes = [row.note, row.independent_note and f"independent: {row.independent_note}"]
        writer.writerow([*line, *measured, beyond, theirs, "; ".join(row.unlike), "; ".join(filter(None, notes))])
    return out.getvalue()


def texts(row: Comparison) -> list[str]:
    """The four cells of a comparison, in the order of COLUMNS."""
    cell = row.reproduced
    reported = EMPTY if row.reported is None else number(row.reported) + ("*" if row.transcriptions == 1 else "")
    independent = EMPTY if row.independent is None else number(row.independent)
    if cell is None:
        return [reported, EMPTY, EMPTY, independent]
    reproduced = f"{number(cell.value)} [{number(cell.low)}, {number(cell.high)}]"
    if row.difference is None:
        return [reported, reproduced, EMPTY, independent]
    difference = ("+" if row.difference > 0 else "") + number(row.difference) + (" !" if row.beyond else "")
    return [reported, reproduced, f"({difference})" if row.unlike else difference, independent]


Line = tuple[str, str, str]  # the paper's table, model, quantizer


def by_line(rows: Sequence[Comparison], corpus: str) -> dict[Line, dict[str, list[Comparison]]]:
    """The comparisons of a corpus: line -> metric as published -> its cells."""
    lines: dict[Line, dict[str, list[Comparison]]] = {}
    for row in rows:
        if row.corpus == corpus:
            metric = row.metric.removesuffix("_sampled")
            lines.setdefault((row.table, row.model, row.quantizer), {}).setdefault(metric, []).append(row)
    return lines


def metrics_of(study: Study, rows: Sequence[Comparison]) -> list[str]:
    """The metrics that something is published for, in the order of the tables."""
    found = {row.metric.removesuffix("_sampled") for row in rows}
    return [metric for metric in study.metrics if metric in found]


def write_markdown(study: Study, rows: Sequence[Comparison]) -> str:
    """A table per corpus and metric."""
    lines = []
    for corpus in study.corpora:
        found = by_line(rows, corpus)
        for metric in metrics_of(study, rows) if found else ():
            lines += [f"**{corpus}: {heading(metric)}**", "", f"| table | model | quantizer | {' | '.join(COLUMNS)} |"]
            lines.append(f"|---|---|---|{'---:|' * len(COLUMNS)}")
            for (table, model, quantizer), cells in found.items():
                for row in cells.get(metric, ()):
                    lines.append(f"| {table} | {model} | {quantizer} | {' | '.join(texts(row))} |")
            lines.append("")
    return "\n".join([*lines, *(f"{remark}  " for remark in remarks(study, rows))]) + "\n"


def write_tex(study: Study, rows: Sequence[Comparison]) -> str:
    """A long table over pages; needs booktabs and longtable."""
    lines = [r"% \usepackage{booktabs,longtable}", r"\begin{longtable}{lllrrrr}", r"\toprule"]
    lines += [" & ".join(["Table", "Model", "Quantizer", *COLUMNS]) + r" \\", r"\midrule", r"\endhead"]
    for corpus in study.corpora:
        found = by_line(rows, corpus)
        for metric in metrics_of(study, rows) if found else ():
            lines.append(rf"\multicolumn{{7}}{{l}}{{\emph{{{tex(corpus)}: {tex(heading(metric))}}}}} \\")
            for line, cells in found.items():
                for row in cells.get(metric, ()):
                    lines.append(" & ".join(tex(text) for text in (*line, *texts(row))) + r" \\")
            lines.append(r"\midrule")
    lines[-1] = r"\bottomrule"
    caption = tex(" ".join(remarks(study, rows)))
    return "\n".join([*lines, rf"\caption{{{caption}}}", r"\label{tab:published}", r"\end{longtable}"]) + "\n"


def write_html(study: Study, rows: Sequence[Comparison]) -> str:
    """A page of its own, without scripts or outside files."""
    metrics, body = metrics_of(study, rows), []
    for corpus in study.corpora:
        found = by_line(rows, corpus)
        if not found:
            continue
        heads = "".join(
            f'<th class="first" colspan="{len(COLUMNS)}">{html.escape(heading(metric))}</th>' for metric in metrics
        )
        names = "".join(f"<th{first_column(place)}>{name}</th>" for _ in metrics for place, name in enumerate(COLUMNS))
        body.append(f'<h2>{html.escape(corpus)}</h2><div class="scroll"><table>')
        body.append(f"<thead><tr><th></th><th></th>{heads}</tr><tr><th></th><th>quantizer</th>{names}</tr></thead>")
        for (table, model, quantizer), cells in found.items():
            where = f" <small>Table {html.escape(table)}</small>" if table else ""
            label = f"<th>{html.escape(model)}{where}</th>"
            body.append(f"<tr>{label}<td>{html.escape(quantizer)}</td>")
            for metric in metrics:
                row = next(iter(cells.get(metric, ())), None)
                body.append(_html_cells(row) if row else '<td class="first"></td><td></td><td></td><td></td>')
            body.append("</tr>")
        body.append("</table></div>")
    body += [f"<p>{html.escape(remark)}</p>" for remark in remarks(study, rows)]
    head = f'<meta charset="utf-8"><title>Published: {html.escape(study.name)}</title><style>{STYLE}{OWN_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def _html_cells(row: Comparison) -> str:
    reported, reproduced, difference, independent = map(html.escape, texts(row))
    kind = "unlike" if row.unlike else "beyond" if row.beyond else ""
    marked = f'<td class="{kind}">{difference}</td>' if kind else f"<td>{difference}</td>"
    return f'<td class="first">{reported}</td><td>{reproduced}</td>{marked}<td>{independent}</td>'
