"""The tables of recovered shares, as Markdown and HTML: what was predicted, models x quantizers, and against the twins.

First the primary family, each prediction with what came out; then every recovered share of VerMem and KnowMem together,
of which all that was not predicted is exploratory; then, where models have a twin in float32, what goes beyond it.
recovery.py has the rules of verdicts and outcomes.
"""

import html
from collections.abc import Sequence

from relapse.analysis.recovery import ALPHA, EQUIVALENCE, EXPLORATORY, MARGIN, PRIMARY, Recovery
from relapse.analysis.study import Study
from relapse.report.table_page import STYLE
from relapse.report.tables import EMPTY, number

OWN_STYLE = """
td.recovered { background: rgba(213, 94, 0, .28); font-weight: 600; }
td.nothing { color: #888; }
td.words { text-align: left; }
"""
PREDICTED = "†"
BEYOND = "beyond its float32 twin"
PRIMARY_COLUMNS = ("corpus", "model", "quantizer", "score", "expected", "came out", "recovered share", "p", BEYOND)
WORDS = 6  # of these columns are text
SCORES = {"knowledge": "VerMem and KnowMem", "verbmem_forget": "VerMem", "knowmem_forget": "KnowMem"}

Cells = dict[tuple[str, str, str], Recovery]  # corpus, model, quantizer


def cells_of(rows: Sequence[Recovery]) -> Cells:
    """The rows of the table, by corpus, model and quantizer."""
    return {(row.corpus, row.model, row.quantizer): row for row in rows if row.metric == "knowledge"}


def _share(row: Recovery) -> str:
    """The share in percent; a question mark where the verdict is `cannot tell`, a dagger where it was predicted."""
    if row.recovered is None:
        return EMPTY
    unsure = " ?" if row.verdict == "cannot tell" else ""
    return number(100 * row.recovered, 0) + unsure + (PREDICTED if row.family == PRIMARY else "")


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f"[{number(100 * low, 0)}, {number(100 * high, 0)}]"


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A share in percent and its interval in one line; '' where there is none."""
    return "" if value is None else f"{number(100 * value, 0)} {_interval(low, high)}".strip()


def _beyond(row: Recovery) -> str:
    return _with_interval(row.beyond_twin, row.beyond_low, row.beyond_high)


def primary_lines(rows: Sequence[Recovery]) -> list[tuple[str, ...]]:
    """The primary family, a line for each prediction and corpus, with PRIMARY_COLUMNS. p is what the prediction is
    judged by: of recovery, or of equivalence.
    """
    return [
        (
            *(row.corpus, row.model, row.quantizer, SCORES[row.metric], row.expected),
            row.outcome + (f" ({row.verdict})" if row.verdict == "nothing forgotten" else ""),
            _with_interval(row.recovered, row.ci_low, row.ci_high),
            f"{row.p_equivalent if row.expected == 'equivalent' else row.p:.2g}",
            _beyond(row),
        )
        for row in rows
        if row.family == PRIMARY
    ]


def remarks(study: Study, rows: Sequence[Recovery]) -> list[str]:
    """What a reader must know beside the numbers."""
    cells, seeds = cells_of(rows), len(study.seeds)
    primary = [row for row in rows if row.family == PRIMARY]
    exploratory = sum(row.family == EXPLORATORY for row in cells.values())
    lines = [
        "Recovered share in percent, (quantized or attacked - full) / (target likewise - full), of VerMem and KnowMem "
        "on forget together: 0, nothing came back; 100, as much as the target knows under the same.",
        f"Filled or bold: recovered (the whole 95 % interval above {100 * MARGIN:.0f} %, p < {ALPHA} after Holm's "
        f"correction for {exploratory} comparison{'' if exploratory == 1 else 's'}); plain: not detected (the whole "
        f"interval below {100 * MARGIN:.0f} %); ?: cannot tell; –, or in words: nothing forgotten, so that nothing can "
        "come back; empty: not run.",
        f"Intervals and p values are Student's over {seeds} seeds: they are about training runs on this corpus."
        if seeds > 1
        else "One seed: intervals are over people (all examples about one are drawn together), or over examples where "
        "the corpus does not say whom they are about. They say nothing about another training run, and so all of it is "
        "exploratory.",
    ]
    if primary:
        lines.append(
            f"{PREDICTED}: one of the {len(primary)} predictions, whose p values are corrected by themselves. All else "
            "is exploratory."
        )
    else:
        lines.append("Nothing was predicted: all of it is exploratory.")
    if any(row.beyond_twin is not None for row in rows):
        lines.append(
            f"{BEYOND[0].upper()}{BEYOND[1:]}: the recovered share less what the same method, stored in float32, gets "
            "back under the same quantizer, in percent of what the model itself had forgotten."
        )
    for quantizer in study.changes:
        found = [row for (_, _, name), row in cells.items() if name == quantizer]
        same = sum(row.equivalent == "yes" for row in found)
        lines.append(
            f"{quantizer}: equivalent to full precision for {same} of {len(found)} models (difference within "
            f"{EQUIVALENCE:.0f} points, two one-sided tests, corrected)."
        )
    return lines


def _twins(study: Study, cells: Cells, corpus: str) -> list[str]:
    """The models of which something is known against their twin."""
    known = {model for (place, model, _), row in cells.items() if place == corpus and row.beyond_twin is not None}
    return [model for model in study.methods if model in known]


def _markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """The lines of a table, and an empty one; the first `words` columns are text."""
    texts = [f"| {' | '.join(line)} |" for line in lines]
    return [f"| {' | '.join(head)} |", f"|{'---|' * words}{'---:|' * (len(head) - words)}", *texts, ""]


def write_markdown(study: Study, rows: Sequence[Recovery]) -> str:
    """The primary family, and for each corpus a table of all shares and one against the twins."""
    cells, quantizers, lines = cells_of(rows), study.changes, []
    if primary := primary_lines(rows):
        lines += ["**primary family: what was predicted**", "", *_markdown_table(PRIMARY_COLUMNS, primary, WORDS)]
    for corpus in study.corpora:
        table = []
        for model in study.methods:
            texts = []
            for quantizer in quantizers:
                row = cells.get((corpus, model, quantizer))
                if row is None or row.verdict == "nothing forgotten":
                    texts.append(row.verdict if row else "")
                    continue
                share = f"**{_share(row)}**" if row.verdict == "recovered" else _share(row)
                texts.append(f"{share}<br><sub>{_interval(row.ci_low, row.ci_high)}</sub>")
            table.append([model, *texts])
        lines += [f"**{corpus}: recovered share (%), {EXPLORATORY}**", "", *_markdown_table(["", *quantizers], table)]
        if twins := _twins(study, cells, corpus):
            table = [
                [model, *(_beyond_cell(cells.get((corpus, model, name))) for name in quantizers)] for model in twins
            ]
            lines += [f"**{corpus}: {BEYOND} (%), {EXPLORATORY}**", "", *_markdown_table(["", *quantizers], table)]
    return "\n".join([*lines, *(f"{remark}  " for remark in remarks(study, rows))]) + "\n"


def _beyond_cell(row: Recovery | None) -> str:
    return _beyond(row) if row and row.verdict != "nothing forgotten" else ""


def _html_table(head: Sequence[str], lines: Sequence[str]) -> list[str]:
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return ['<div class="scroll"><table>', f"<thead><tr>{heads}</tr></thead>", *lines, "</table></div>"]


def _html_line(first: str, cells: Sequence[str]) -> str:
    return f"<tr><th>{html.escape(first)}</th>{''.join(cells)}</tr>"


def _html_cell(row: Recovery | None) -> str:
    if row is None:
        return "<td></td>"
    kind = {"recovered": ' class="recovered"', "nothing forgotten": ' class="nothing"'}.get(row.verdict, "")
    interval = f"<small>{_interval(row.ci_low, row.ci_high)}</small>"
    return f"<td{kind}>{EMPTY if row.verdict == 'nothing forgotten' else _share(row) + interval}</td>"


def write_html(study: Study, rows: Sequence[Recovery]) -> str:
    """The same as a page of its own, without scripts or outside files."""
    cells, quantizers, body = cells_of(rows), study.changes, []
    if primary := primary_lines(rows):
        lines = [
            _html_line(first, [f'<td class="words">{html.escape(text)}</td>' for text in others])
            for first, *others in primary
        ]
        body += ["<h2>Primary family: what was predicted</h2>", *_html_table(PRIMARY_COLUMNS, lines)]
    for corpus in study.corpora:
        lines = [
            _html_line(model, [_html_cell(cells.get((corpus, model, name))) for name in quantizers])
            for model in study.methods
        ]
        title = f"{html.escape(corpus)}: recovered share (%), {EXPLORATORY}"
        body += [f"<h2>{title}</h2>", *_html_table(["", *quantizers], lines)]
        if twins := _twins(study, cells, corpus):
            lines = [
                _html_line(model, [f"<td>{_beyond_cell(cells.get((corpus, model, name)))}</td>" for name in quantizers])
                for model in twins
            ]
            title = f"{html.escape(corpus)}: {BEYOND} (%), {EXPLORATORY}"
            body += [f"<h2>{title}</h2>", *_html_table(["", *quantizers], lines)]
    body += [f"<p>{html.escape(remark)}</p>" for remark in remarks(study, rows)]
    head = f'<meta charset="utf-8"><title>Recovery: {html.escape(study.name)}</title><style>{STYLE}{OWN_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"
