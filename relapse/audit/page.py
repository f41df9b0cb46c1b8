"""The audit on a terminal, as JSON and CSV, as a figure, and as one HTML page that opens without a network."""

import base64
import csv
import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib.pyplot as plt

from relapse.audit import verdict
from relapse.audit.compare import FORMATS, Update
from relapse.report.style import GREEN, GREY, INK, QUIET, RC, VERMILION, heading, write

COLOURS = {"absorbed": VERMILION, "survives": GREEN, "cannot tell": GREY}
GAP = 0.6  # inches between two panels
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
COLUMNS = ("format", "surviving", "worst", "worst_matrix", "outside", "verdict")
STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;display:block;overflow-x:auto}td,th{padding:.3rem .8rem;text-align:left;
border-bottom:1px solid #d9d9d9;white-space:nowrap}img{max-width:100%}.absorbed{color:#a83f00;font-weight:600}
.survives{color:#00694d;font-weight:600}"""


@dataclass
class Row:
    """A format of one audited model. surviving, worst and outside are shares; unfit: why there are none."""

    format: str
    surviving: float | None
    worst: float | None
    worst_matrix: str
    outside: float | None
    verdict: str
    unfit: str = ""


def rows(update: Update) -> list[Row]:
    """A row for each format, in the order in which they were asked for."""
    found = []
    for name, survival in update.formats.items():
        if survival.unfit:
            found.append(Row(name, None, None, "", update.outside_share, "does not fit", survival.unfit))
            continue
        matrix, least = survival.worst or ("", None)
        judged = verdict.verdict(update, survival)
        found.append(Row(name, survival.share, least, matrix, update.outside_share, judged))
    return found


def _number(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"


def as_text(update: Update, sentences: Sequence[str]) -> str:
    """What the terminal shows of one model."""
    lines = [str(update.name), *(f"  {sentence}." for sentence in (*update.notes, *sentences)), ""]
    lines.append(f"  {'format':16}{'surviving':>10}{'worst':>8}  verdict")
    for row in rows(update):
        outcome = row.unfit or row.verdict
        lines.append(f"  {row.format:16}{_number(row.surviving):>10}{_number(row.worst):>8}  {outcome}")
    return "\n".join(lines)


def legend() -> list[str]:
    """What the verdicts mean, and the rule's track record."""
    rule = f"absorbed: at most {verdict.ABSORBED} of the update survives; survives: at least {verdict.SURVIVES}."
    meaning = [f"{name}: {text}." for name, text in verdict.MEANING.items()]
    record = [f"{sentence}." for sentence in verdict.in_words(verdict.track_record())]
    return [rule, *meaning, "The rule in this project's own studies, by whether knowledge came back:", *record]


def title(updates: Sequence[Update]) -> str:
    """The finding in one line."""
    lost = [[row.format for row in rows(update) if row.verdict == "absorbed"] for update in updates]
    if not any(lost):
        return "No format absorbs the update" if len(updates) == 1 else "No format absorbs any of the updates"
    if len(updates) == 1:
        return f"Absorbed by {', '.join(lost[0])}"
    return f"{sum(map(bool, lost))} of {len(updates)} updates are absorbed by at least one format"


def figure(updates: Sequence[Update]) -> plt.Figure:
    """A panel for each model: the surviving share of every format, coloured by its verdict."""
    panel = 0.3 * len(updates[0].formats)  # inches
    high = 1.45 + (panel + GAP) * len(updates)
    with plt.rc_context(RC):
        drawn, grid = plt.subplots(len(updates), 1, figsize=(7.2, high), squeeze=False)
        drawn.subplots_adjust(left=0.2, right=0.97, top=1 - 1.0 / high, bottom=0.55 / high, hspace=GAP / panel)
        for axes, update in zip(grid[:, 0], updates, strict=True):
            shown = rows(update)[::-1]
            shares = [min(max(row.surviving or 0.0, 0.0), 1.3) for row in shown]
            colours = [COLOURS.get(row.verdict, GREY) for row in shown]
            axes.barh([row.format for row in shown], shares, color=colours, height=0.7)
            for place, row in enumerate(shown):
                text = f"{_number(row.surviving)}  {row.verdict}"
                axes.text(shares[place] + 0.015, place, text, va="center", fontsize=8, color=INK, bbox=PAPER)
            for limit in (verdict.ABSORBED, verdict.SURVIVES):
                axes.axvline(limit, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.set_xlim(0, 1.6)
            axes.grid(False)
            axes.set_title("/".join(update.name.parts[-2:]), fontsize=9.5, loc="left")
        grid[-1, 0].set_xlabel("surviving share of the update  (0: the format absorbs it, 1: all of it survives)")
        heading(drawn, title(updates), "From the weights of the two models alone. Dashed: the limits of the verdicts.")
    return drawn


def save(out: Path, target: Path, updates: Sequence[Update], sentences: Sequence[Sequence[str]]) -> list[Path]:
    """Write audit.json, audit.csv, audit.png, audit.pdf and audit.html to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    models = [
        {
            "unlearned": str(update.name),
            "looks_like": list(looks),
            "notes": update.notes,
            "formats": [asdict(row) | {"settings": FORMATS.get(row.format)} for row in rows(update)],
            "matrices": {name: survival.layers for name, survival in update.formats.items()},
        }
        for update, looks in zip(updates, sentences, strict=True)
    ]
    record = {name: dict(cells) for name, cells in verdict.track_record().items()}
    whole = {"target": str(target), "rule": legend()[0], "track_record": record, "models": models}
    (out / "audit.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    with (out / "audit.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["unlearned", *COLUMNS])
        for update in updates:
            writer.writerows([update.name, *(getattr(row, name) for name in COLUMNS)] for row in rows(update))
    write(figure(updates), out / "audit.pdf", out / "audit.png")
    (out / "audit.html").write_text(_page(target, updates, sentences, out / "audit.png"), encoding="utf-8")
    return [out / f"audit.{kind}" for kind in ("html", "json", "csv", "png", "pdf")]


def _page(target: Path, updates: Sequence[Update], sentences: Sequence[Sequence[str]], picture: Path) -> str:
    escaped = html.escape
    image = base64.b64encode(picture.read_bytes()).decode()
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
        f"content='width=device-width'><title>relapse audit</title><style>{STYLE}</style></head><body>",
        f"<h1>Does it stay unlearned?</h1><p>Target: <code>{escaped(str(target))}</code></p>",
        f"<img alt='Surviving share of the update in every format' src='data:image/png;base64,{image}'>",
    ]
    for update, looks in zip(updates, sentences, strict=True):
        parts.append(f"<h2><code>{escaped(str(update.name))}</code></h2><ul>")
        parts += [f"<li>{escaped(sentence)}.</li>" for sentence in (*update.notes, *looks)]
        parts.append("</ul><table><tr><th>format</th><th>surviving</th><th>worst matrix</th><th>verdict</th></tr>")
        for row in rows(update):
            worst = f"{_number(row.worst)} {row.worst_matrix}"
            cells = (row.format, _number(row.surviving), worst, row.unfit or row.verdict)
            kind = row.verdict.replace(" ", "-")
            inner = "".join(f"<td>{escaped(cell)}</td>" for cell in cells[:-1])
            parts.append(f"<tr>{inner}<td class='{kind}'>{escaped(cells[-1])}</td></tr>")
        parts.append("</table>")
    parts += ["<h2>How to read this</h2>", *(f"<p>{escaped(line)}</p>" for line in legend()), "</body></html>"]
    return "\n".join(parts) + "\n"
