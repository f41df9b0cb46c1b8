"""What the aggregating scripts need to know of a study: its names, in the order in which tables show them.

The order is the paper's and does not depend on the order of the config's keys.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relapse.text.chat_template import has_chat_template

METHOD_ORDER = ("ga", "ga_gdr", "ga_klr", "npo", "npo_gdr", "npo_klr")
PAPER_METRICS = ("verbmem_forget", "knowmem_forget", "privleak", "knowmem_retain")  # M1 to M4
UTILITY_METRICS = ("mmlu", "truthfulqa", "triviaqa", "fluency")  # the paper's Gen, Tru, Fac, Flu
METRIC_ORDER = ("verbmem_forget", "verbmem_forget_sampled", *PAPER_METRICS[1:], "world_facts", *UTILITY_METRICS)
BACKEND_ORDER = ("full", "rtn", "bitsandbytes", "gptq", "awq", "gguf", "compressed", "prune", "wanda", "sparsegpt")
ROUNDING = ("rtn", "gptq", "awq", "autogptq", "autoawq")  # the paper's Table 2: round to nearest, GPTQ and AWQ
FORMAT_ORDER = ("int8", "fp4", "nf4")


def _rank(order: tuple[str, ...], name: str) -> int:
    return order.index(name) if name in order else len(order)


def bits(entry: Mapping[str, Any]) -> int | None:
    """Bits of a weight under a quantizer's config entry (`bits: 4`, `format: nf4`, `scheme: W4A16_ASYM`), or None."""
    named = entry.get("bits", entry.get("format", entry.get("scheme", "")))
    found = re.search(r"\d+", str(named))
    return int(found.group()) if found else None


def made_elsewhere(name: str, entry: Mapping[str, Any]) -> str:
    """Where a model comes from that no run of the study has unlearned."""
    where = entry["path"] if entry["source"] == "local" else f"{entry['id']} at {entry['revision'][:8]}"
    stored = "as stored" if entry["as_stored"] else "in bfloat16"
    return f"{name}: made elsewhere ({where}), {stored}; how it was unlearned is not known here."


@dataclass(frozen=True)
class Study:
    """Names and entries of one study.

    models: target and, where the study has it, retrain. methods: entry name -> its config entry, with `constrained`
    (its loss has a retain term) and, where that differs, `averaged` (the reconstructed average covers it). quantizers:
    name -> config entry; where `methods` stands in one, it was applied to these, to target and to retrain alone.
    attacks: likewise.
    """

    name: str
    corpora: tuple[str, ...]
    seeds: tuple[int, ...]
    models: tuple[str, ...]
    methods: dict[str, dict[str, Any]]
    quantizers: dict[str, dict[str, Any]]
    attacks: dict[str, dict[str, Any]]
    metrics: tuple[str, ...]
    asked: dict[str, dict[str, Any]]  # metric -> its config entry, as far as it is known
    batch_size: int | None
    bootstrap_samples: int

    @property
    def decoding(self) -> str:
        """How verbmem_forget continues passages: greedy or sample."""
        return self.asked.get("verbmem_forget", {}).get("decoding", "greedy")

    def covers(self, model: str, quantizer: str) -> bool:
        """Whether a model was scored under a quantizer, or an attack."""
        applied = (self.quantizers | self.attacks)[quantizer].get("methods")
        return applied is None or model in self.models or model in applied

    @property
    def changes(self) -> list[str]:
        """What may bring knowledge back: the quantizers but full precision, then the attacks."""
        return [name for name in (*self.quantizers, *self.attacks) if name != "full"]

    @property
    def constrained(self) -> list[str]:
        """The utility-constrained methods."""
        return [name for name, entry in self.methods.items() if entry["constrained"]]

    @property
    def averaged(self) -> list[str]:
        """The methods that the reconstructed average covers."""
        return [name for name, entry in self.methods.items() if entry.get("averaged", entry["constrained"])]


def read_study(settings: Mapping[str, Any]) -> Study:
    """The study that a script's `--settings` describe; mappings or lists of names both serve for what has no entry."""

    def method_key(name: str) -> tuple:
        registered = settings["methods"][name].get("method", name)
        base = registered.removesuffix("_sure")
        return _rank(METHOD_ORDER, base), base, registered != base, settings["methods"][name].get("lr", 0), name

    def quantizer_key(name: str) -> tuple:
        entry = settings["quantizers"][name]
        backend = entry["backend"]
        shape = _rank(FORMAT_ORDER, entry.get("format", ""))
        return _rank(BACKEND_ORDER, backend), backend, -(bits(entry) or 0), shape, name

    def ordered(names: str, key: Any) -> dict[str, dict[str, Any]]:
        return {name: dict(settings[names][name]) for name in sorted(settings[names], key=key)}

    evaluation = settings.get("evaluation", {})
    metrics = settings.get("metrics", PAPER_METRICS)
    return Study(
        name=settings.get("study", "study"),
        corpora=tuple(sorted(settings["corpora"])),
        seeds=tuple(sorted(settings["seeds"])),
        models=tuple(name for name in ("target", "retrain") if name in settings.get("models", ("target", "retrain"))),
        methods=ordered("methods", method_key),
        quantizers=ordered("quantizers", quantizer_key),
        attacks={name: dict(entry) for name, entry in settings.get("attacks", {}).items()},
        metrics=tuple(sorted(metrics, key=lambda name: (_rank(METRIC_ORDER, name), name))),
        asked=dict(metrics) if isinstance(metrics, Mapping) else {},
        batch_size=evaluation.get("batch_size"),
        bootstrap_samples=evaluation.get("bootstrap_samples", 2000),
    )


def asked_without_chat(models: Path, study: Study) -> list[str]:
    """The corpora whose target has a chat template while a metric asks its questions without it.

    models: the folder with {corpus}/target/seed{seed}.
    """
    plain = any(study.asked.get(name, {}).get("prompt") != "chat" for name in study.metrics if "knowmem" in name)
    folders = {corpus: models / corpus / "target" / f"seed{study.seeds[0]}" for corpus in study.corpora if plain}
    return [corpus for corpus, folder in folders.items() if has_chat_template(folder)]


def read_statements(folder: Path, study: Study) -> dict[str, str]:
    """corpus -> the sentence in which {folder}/{corpus}/corpus.json describes it; '' where there is none."""
    statements = {}
    for corpus in study.corpora:
        path = folder / corpus / "corpus.json"
        statements[corpus] = json.loads(path.read_text(encoding="utf-8")).get("statement", "") if path.is_file() else ""
    return statements
