"""A table as an HTML page of its own: shaded cells, which scroll sideways beside the models' names.

This module has the HTML and the style that all tables of the report share; tables.py collects the cells.
"""

import html
from collections.abc import Callable, Mapping

from relapse.analysis.study import Study
from relapse.report.tables import EMPTY, SHADED, Cell, Key, heading, interval, number, rows

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 1.5rem; }
h2 { font-size: 1.05rem; margin: 1.2rem 0 .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th { font-weight: 600; }
thead th { padding: .25rem .55rem; font-size: .82rem; }
thead tr:first-child th { border-bottom: 1px solid #999; }
thead tr:last-child th { border-bottom: 2px solid #1a1a1a; }
tbody th { text-align: left; padding-right: 1rem; position: sticky; left: 0; background: #fff; }
td { text-align: right; padding: .2rem .55rem; }
td small { display: block; color: #555; font-size: .7rem; }
.first { border-left: 1px solid #999; }
tbody tr.methods > * { border-top: 1px solid #999; }
p { max-width: 60rem; margin: .3rem 0; color: #444; font-size: .85rem; }
"""


def _shade(cells: Mapping[Key, Cell], corpus: str, quantizer: str, metric: str) -> Callable[[Cell], str]:
    """A cell's background: the more of the target's score at the same precision, the stronger."""
    target = cells.get((corpus, "target", quantizer, metric))
    if metric not in SHADED or not target or not target.value:
        return lambda cell: ""
    return lambda cell: (
        f' style="background: rgba(230, 120, 0, {0.45 * min(max(cell.value / target.value, 0), 1):.2f})"'
    )


def first_column(place: int) -> str:
    """The class of the first column below a metric's heading."""
    return "" if place else ' class="first"'


def write_html(study: Study, cells: Mapping[Key, Cell], remarks: list[str], table: int) -> str:
    """A page of its own, without scripts or outside files, that a browser shows offline."""
    width = len(study.quantizers)
    body = []
    for corpus in study.corpora:
        body += [f"<h2>{html.escape(corpus)}</h2>", '<div class="scroll"><table>', "<thead><tr><th></th>"]
        body += [f'<th class="first" colspan="{width}">{html.escape(heading(metric))}</th>' for metric in study.metrics]
        body.append("</tr><tr><th></th>")
        for _ in study.metrics:
            for place, quantizer in enumerate(study.quantizers):
                body.append(f"<th{first_column(place)}>{html.escape(quantizer)}</th>")
        body.append("</tr></thead><tbody>")
        for model in rows(study):
            kind = ' class="methods"' if [model] == list(study.methods)[:1] else ""
            body.append(f"<tr{kind}><th>{html.escape(model)}</th>")
            for metric in study.metrics:
                for place, quantizer in enumerate(study.quantizers):
                    cell = cells.get((corpus, model, quantizer, metric))
                    shade = _shade(cells, corpus, quantizer, metric)(cell) if cell else ""
                    text = f"{number(cell.value)}<small>{interval(cell)}</small>" if cell else EMPTY
                    body.append(f"<td{first_column(place)}{shade}>{text}</td>")
            body.append("</tr>")
        body.append("</tbody></table></div>")
    shaded = "Shaded: the share of the target's score at the same precision, for what was to be forgotten."
    body += [f"<p>{html.escape(remark)}</p>" for remark in [*remarks, shaded]]
    head = f'<meta charset="utf-8"><title>Table {table}: {html.escape(study.name)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"
