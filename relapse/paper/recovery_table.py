"""The table of recovered shares: models x quantizers, with intervals and verdicts, as Markdown and HTML.

Knows the rows of recovery.csv for VerMem and KnowMem together; the rule behind a verdict is recovery.py's.
"""

import html
from collections.abc import Sequence

from relapse.analysis.recovery import ALPHA, EQUIVALENCE, MARGIN, Recovery
from relapse.analysis.study import Study
from relapse.paper.tables import EMPTY, STYLE, number

OWN_STYLE = """
td.recovered { background: rgba(213, 94, 0, .28); font-weight: 600; }
td.nothing { color: #888; }
"""

Cells = dict[tuple[str, str, str], Recovery]  # corpus, model, quantizer


def cells_of(rows: Sequence[Recovery]) -> Cells:
    """The rows of the table, by corpus, model and quantizer."""
    return {(row.corpus, row.model, row.quantizer): row for row in rows if row.metric == "knowledge"}


def _quantizers(study: Study) -> list[str]:
    return [name for name in study.quantizers if name != "full"]


def _share(row: Recovery) -> str:
    """The share in percent, a question mark where the verdict is `cannot tell`."""
    if row.recovered is None:
        return EMPTY
    return number(100 * row.recovered, 0) + (" ?" if row.verdict == "cannot tell" else "")


def _interval(row: Recovery) -> str:
    if row.ci_low is None or row.ci_high is None:
        return ""
    return f"[{number(100 * row.ci_low, 0)}, {number(100 * row.ci_high, 0)}]"


def remarks(study: Study, cells: Cells) -> list[str]:
    """What a reader must know beside the numbers."""
    lines = [
        "Recovered share in percent, (quantized - full) / (target at the same precision - full), of VerMem and KnowMem "
        "on forget together: 0, nothing came back; 100, as much as the quantized target knows.",
        f"Filled or bold: recovered (the whole 95 % interval above {100 * MARGIN:.0f} %, p < {ALPHA} after Holm's "
        f"correction for {len(cells)} comparisons); plain: not detected (the whole interval below "
        f"{100 * MARGIN:.0f} %); ?: cannot tell; –, or in words: nothing forgotten, so that nothing can come back; "
        "empty: not run.",
    ]
    for quantizer in _quantizers(study):
        found = [row for (_, _, name), row in cells.items() if name == quantizer]
        same = sum(row.equivalent == "yes" for row in found)
        lines.append(
            f"{quantizer}: equivalent to full precision for {same} of {len(found)} models (difference within "
            f"{EQUIVALENCE:.0f} points, two one-sided tests, corrected)."
        )
    return lines


def write_markdown(study: Study, rows: Sequence[Recovery]) -> str:
    """A table per corpus."""
    cells, quantizers, lines = cells_of(rows), _quantizers(study), []
    for corpus in study.corpora:
        lines += [f"**{corpus}: recovered share (%)**", ""]
        lines += [f"| | {' | '.join(quantizers)} |", f"|---|{'---:|' * len(quantizers)}"]
        for model in study.methods:
            texts = []
            for quantizer in quantizers:
                row = cells.get((corpus, model, quantizer))
                if row is None or row.verdict == "nothing forgotten":
                    texts.append(row.verdict if row else "")
                    continue
                share = f"**{_share(row)}**" if row.verdict == "recovered" else _share(row)
                texts.append(f"{share}<br><sub>{_interval(row)}</sub>")
            lines.append(f"| {model} | {' | '.join(texts)} |")
        lines.append("")
    return "\n".join([*lines, *(f"{remark}  " for remark in remarks(study, cells))]) + "\n"


def write_html(study: Study, rows: Sequence[Recovery]) -> str:
    """A page of its own, without scripts or outside files."""
    cells, quantizers, body = cells_of(rows), _quantizers(study), []
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in quantizers)
    for corpus in study.corpora:
        body.append(f'<h2>{html.escape(corpus)}</h2><div class="scroll"><table>')
        body.append(f"<thead><tr><th></th>{heads}</tr></thead>")
        for model in study.methods:
            body.append(f"<tr><th>{html.escape(model)}</th>")
            for quantizer in quantizers:
                row = cells.get((corpus, model, quantizer))
                if row is None:
                    body.append("<td></td>")
                    continue
                kind = {"recovered": ' class="recovered"', "nothing forgotten": ' class="nothing"'}.get(row.verdict, "")
                text = EMPTY if row.verdict == "nothing forgotten" else f"{_share(row)}<small>{_interval(row)}</small>"
                body.append(f"<td{kind}>{text}</td>")
            body.append("</tr>")
        body.append("</table></div>")
    body += [f"<p>{html.escape(remark)}</p>" for remark in remarks(study, cells)]
    head = f'<meta charset="utf-8"><title>Recovery: {html.escape(study.name)}</title><style>{STYLE}{OWN_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"
