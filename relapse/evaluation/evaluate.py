"""One model under one quantizer, scored by every metric.

This module combines quantizer, corpus and metrics, and has the defaults of a plain evaluation.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch

from relapse.attacks import ATTACKS, NO_ATTACK, Attacked, AttackSettings
from relapse.corpora.corpus import Corpus
from relapse.corpora.muse import read_folder
from relapse.evaluation.settings import Evaluation
from relapse.metrics import METRICS, PAPER_METRICS, Evaluated
from relapse.models.loading import check_vocabulary, load_tokenizer
from relapse.models.saving import versions
from relapse.planning import fit, memory
from relapse.quantization import BACKENDS, Compared, read_versions
from relapse.quantization.calibration import read_facts
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.batching import BatchSize
from relapse.runtime.errors import RelapseError
from relapse.runtime.progress import Stopwatch
from relapse.runtime.settings import Settings
from relapse.text.prompts import asked_texts


def read_records(path: Path) -> list[dict]:
    """Per-example records, one JSON object a line."""
    try:
        # Not splitlines: a text may hold U+2028, U+0085 or a form feed, which JSON does not escape.
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise RelapseError(f"cannot read the records in {path}: {error}") from None


def write_records(records: list[dict], path: Path) -> None:
    """Write per-example records, one JSON object a line."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def _reference(metric: str, records: list[dict] | Literal["self"] | None) -> list[dict] | None:
    """The reference's records of one metric; None where none are given."""
    if records is None or records == "self":
        return None
    return [record for record in records if record["metric"] == metric]


def lines(result: dict, name: str) -> list[str]:
    """A line for each score of a result: quantizer, metric, value, interval, examples."""
    found = []
    for metric, score in result["scores"].items():
        interval = f"[{score['ci_low']:.1f}, {score['ci_high']:.1f}]"
        found.append(f"{name:16} {metric:16} {score['value']:7.1f}  {interval}  n = {score['n']}")
    return found


def check_memory(model_dir: Path, compute: str, attack: AttackSettings | None = None) -> None:
    """Raise RelapseError where the model does not fit. A batch that does not is halved; the weights must."""
    if shape := fit.architecture(model_dir):
        width, on_gpu = fit.WIDTH[compute], torch.cuda.is_available()
        needed = memory.scoring(shape, width, 1, {}, on_gpu)
        if attack:
            needed = max(needed, ATTACKS.get(attack.attack).takes(shape, attack, width, on_gpu)[0])
        fit.require(needed, f"scoring {model_dir}", "Use compute: bfloat16, or a machine with more memory.")


def first(corpus: Corpus, limit: int) -> Corpus:
    """The corpus with the first `limit` items of whatever is asked or scored; few-shot examples stay."""
    knowmem = {part: items if part.endswith("_icl") else items[:limit] for part, items in corpus.knowmem.items()}
    privleak = {part: texts[:limit] for part, texts in corpus.privleak.items()}
    return replace(
        corpus, verbmem=corpus.verbmem[:limit], knowmem=knowmem, privleak=privleak, world=corpus.world[:limit]
    )


def _scored(
    attacked: Attacked,
    attack: AttackSettings | None,
    metrics: Mapping[str, Settings],
    samples: int,
    reference: list[dict] | Literal["self"] | None,
    stopwatch: Stopwatch,
) -> tuple[dict[str, dict], list[dict]]:
    """Scores and records of every metric, after the attack if there is one."""
    attacker = ATTACKS.get(attack.attack) if attack else NO_ATTACK
    references = {name: _reference(name, reference) for name in metrics}
    for name, entry in metrics.items():  # every metric is checked before the first is scored
        if check := getattr(METRICS.get(name), "check", None):
            check(attacked.run, entry, "self" if reference == "self" else references[name])
    if attack:
        with stopwatch.part("attack"):
            attacker.apply(attacked, attack)
    scores, records = {}, []
    for name, entry in metrics.items():
        with stopwatch.part("score"):
            own = attacker.records(name, attacked, entry, attack)
        its_reference = own if reference == "self" else references[name]
        scores[name] = asdict(METRICS.get(name).score(own, entry, samples, its_reference))
        records += [{"metric": name} | record for record in own]
    return scores, records


def _settings(
    quantizer: QuantizerSettings,
    attack: AttackSettings | None,
    metrics: Mapping[str, Settings],
    evaluation: Evaluation,
    dtype: torch.dtype,
) -> dict:
    """What the scores were computed with, as a result keeps it."""
    return {
        "quantizer": quantizer.rounding(),
        **({"attack": attack.plain()} if attack else {}),
        "metrics": {name: entry.model_dump() for name, entry in metrics.items()},
        "evaluation": evaluation.scoring(),
        "compute": str(dtype).removeprefix("torch."),
    }


def evaluate(
    model_dir: Path,
    corpus_dir: Path,
    quantizer: QuantizerSettings,
    metrics: Mapping[str, Settings] | None = None,
    evaluation: Evaluation | None = None,
    reference: list[dict] | Literal["self"] | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    stopwatch: Stopwatch | None = None,
    attack: AttackSettings | None = None,
    target: Path | None = None,
    attacked_with: QuantizerSettings | None = None,
    limit: int | None = None,
) -> tuple[dict, list[dict]]:
    """Scores with settings and versions, and the per-example records they come from.

    metrics: name -> settings; None stands for the paper's M1 to M4 with their defaults, PrivLeak only where
    `reference` is given. evaluation: None stands for its defaults. reference: the retrain model's records, or "self"
    if this is the retrain model. model_dir: for a calibrated quantizer the checkpoint it wrote, whose facts about its
    text are returned too. attack: what is done to the quantized model before it is scored; target: the folder of the
    model before unlearning, where the attack or a `Compared` quantizer needs it, and attacked_with: the quantizer that
    the attack names. bitsandbytes' int8 chooses its outlier columns over a batch, so the batch size is part of the
    settings that are returned; `smallest_batch` is returned too where memory did not hold as many. limit: only the
    first so many items of each part of the corpus. Raises RelapseError.
    """
    stopwatch = stopwatch or Stopwatch()
    evaluation = evaluation or Evaluation()
    if metrics is None:
        asked = [name for name in PAPER_METRICS if name != "privleak" or reference is not None]
        metrics = {name: METRICS.settings({}, name) for name in asked}
    backend = BACKENDS.get(quantizer.backend)
    corpus = read_folder(corpus_dir) if limit is None else first(read_folder(corpus_dir), limit)
    with stopwatch.part("load"):
        compared = (target,) if isinstance(backend, Compared) else ()
        model = backend.load(model_dir, quantizer, dtype, *compared)
        tokenizer = load_tokenizer(model_dir, asked_texts(corpus))
    check_vocabulary(model, tokenizer, model_dir, asked_texts(corpus))
    run = Evaluated(model, tokenizer, corpus, BatchSize(evaluation.batch_size), seed)
    attacked = Attacked(run, target, attacked_with)
    if attack:
        metrics = ATTACKS.get(attack.attack).metrics(metrics)
    scores, records = _scored(attacked, attack, metrics, evaluation.bootstrap_samples, reference, stopwatch)
    result: dict[str, Any] = {
        "scores": scores,
        "settings": _settings(quantizer, attack, metrics, evaluation, dtype),
        "versions": versions(),
    }
    if limit is not None:
        result["limit"] = limit
    if run.batch_size.size < evaluation.batch_size:
        result["smallest_batch"] = run.batch_size.size
    if seen := read_facts(model_dir):
        result["calibration"] = seen
    if made := read_versions(model_dir):  # the versions above are those that scored
        result["quantized_with"] = made
    return result, records
