"""What comes back of an audited model's forgotten knowledge: both models scored on a corpus under the chosen formats.

Scores are evaluation/evaluate.py's; shares, intervals and verdicts are analysis/recovery.py's, as in a study of one
seed: the intervals are over people or examples, and do not cover another training run.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from relapse.analysis.recovery import Recovery, recoveries
from relapse.analysis.retained import KNOWLEDGE, Reader, records_path
from relapse.analysis.study import read_study
from relapse.evaluation.evaluate import check_memory, evaluate, write_records
from relapse.metrics import METRICS
from relapse.quantization import BACKENDS

FULL: dict[str, Mapping[str, Any]] = {"full": {"backend": "full"}}


def names_of(unlearned: Sequence[Path]) -> list[str]:
    """A name for each model's records: the folder's, with its place among them, since two may be called alike."""
    return [f"{place}-{folder.resolve().name}" for place, folder in enumerate(unlearned, 1)]


def recovered(
    target: Path,
    unlearned: Mapping[str, Path],
    formats: Mapping[str, Mapping[str, Any]],
    corpus: Path,
    records: Path,
    limit: int | None = None,
    dtype: str = "float32",
    report: Callable[[str], None] = lambda what: None,
) -> list[Recovery]:
    """The rows of recovery.csv for every unlearned model and format: VerMem forget, KnowMem forget, and both together.

    unlearned: name -> folder, named by `names_of`. formats: name -> quantizer entry. records: a folder that the answers
    are written to, as a study's metrics folder. limit: only the first so many items. `report(what)` is called after
    every evaluation. Raises RelapseError for a model that does not fit memory, and as `evaluate` does.
    """
    models = {"target": target, **unlearned}
    for folder in models.values():
        check_memory(folder, dtype)
    for name, folder in models.items():
        for quantizer, entry in (FULL | dict(formats)).items():
            _, answers = evaluate(
                folder,
                corpus,
                BACKENDS.settings(entry),
                {metric: METRICS.settings({}, metric) for metric in KNOWLEDGE},
                dtype=getattr(torch, dtype),
                limit=limit,
            )
            path = records_path(records, corpus.name, name, 0, quantizer)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_records(answers, path)
            report(f"{name} under {quantizer}")
    study = read_study(
        {
            "study": "audit",
            "corpora": [corpus.name],
            "seeds": [0],
            "models": ["target"],
            "methods": {name: {"constrained": False} for name in models if name != "target"},
            "quantizers": FULL | dict(formats),
            "metrics": {metric: {} for metric in KNOWLEDGE},
        }
    )
    return recoveries(Reader(records, study))


def as_text(name: str, rows: Sequence[Recovery]) -> str:
    """What the terminal shows of one model: knowledge (VerMem and KnowMem on forget together) in every format."""
    lines = [f"  {'format':16}{'full':>7}{'quantized':>11}{'target':>8}  recovered share"]
    for row in rows:
        if row.model == name and row.metric == "knowledge":
            share = "" if row.recovered is None else f"{100 * row.recovered:.0f} %"
            if row.ci_low is not None and row.ci_high is not None:
                share += f" [{100 * row.ci_low:.0f}, {100 * row.ci_high:.0f}]"
            scores = f"{row.full:7.1f}{row.quantized:11.1f}{row.target:8.1f}"
            lines.append(f"  {row.quantizer:16}{scores}  {share}  {row.verdict}".rstrip())
    return "\n".join(lines)
