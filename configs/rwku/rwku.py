"""How RWKU's TruthfulQA is asked and its TriviaQA scored, from lm-evaluation-harness's and transformers' own parts."""

from importlib.util import find_spec
from pathlib import Path

import yaml
from lm_eval.tasks.truthfulqa.utils import process_results_mc2
from lm_eval.utils import apply_template
from transformers.data.metrics.squad_metrics import compute_f1

__all__ = ["asked_as_truthfulqa", "mc2", "token_f1"]
(HARNESS,) = find_spec("lm_eval").submodule_search_locations
TRUTHFULQA = yaml.safe_load((Path(HARNESS) / "tasks/truthfulqa/truthfulqa_mc1.yaml").read_text(encoding="utf-8"))


def asked_as_truthfulqa(doc: dict) -> str:
    """The harness's prompt of TruthfulQA: six answered questions, then the item's."""
    return apply_template(TRUTHFULQA["doc_to_text"], doc)


def mc2(doc: dict, results: list) -> dict[str, float]:
    """The probability of the true choices among all (TruthfulQA, arXiv 2109.07958)."""
    return {name: float(value) for name, value in process_results_mc2(doc, results).items()}


def token_f1(doc: dict, results: list[str]) -> dict[str, float]:
    """The largest F1 of an answer's words against those of an accepted answer, normalised as in SQuAD."""
    return {"token_f1": max(compute_f1(answer, results[0]) for answer in doc["answers"])}
