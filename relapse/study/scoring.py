"""What the jobs that score models are given: under a quantizer, or under an attack.

Rules call these methods with a job's wildcards, and with its input files. This module uses the graph of a study and the
options of `scripts.evaluate`, and does not import Snakemake.
"""

from abc import ABC, abstractmethod
from typing import Any

from relapse.attacks import ATTACKS
from relapse.metrics import METRICS
from relapse.metrics.privleak import PrivLeakSettings
from relapse.runtime.code_digest import digest
from relapse.runtime.registry import ROOT
from relapse.study.config import quoted
from relapse.study.graph import ANY, Graph, Wildcards, label_of, one_of


class Scoring(ABC):
    """The jobs of one rule."""

    def __init__(self, graph: Graph):
        self.graph = graph
        # Before `python`: lm-evaluation-harness reads its data from the cache alone.
        self.offline = "HF_HUB_OFFLINE=1 " if graph.harness else ""

    @abstractmethod
    def names(self, wildcards: Wildcards) -> list[str]:
        """The quantizers that a job scores a model under, in turn; or its attack."""

    def measures_reference(self, wildcards: Wildcards) -> bool | None:
        """Whether a job scores the model that PrivLeak measures the others against; None where no job does."""
        privleak = self.graph.study.metrics.get("privleak")
        if not isinstance(privleak, PrivLeakSettings) or privleak.reference != "retrain":
            return None
        return wildcards.model == "retrain" and "full" in self.names(wildcards)

    def reference(self, wildcards: Wildcards) -> list[str]:
        """The same seed's retrain model in full precision, where PrivLeak needs its records."""
        if self.measures_reference(wildcards) is not False:
            return []
        return [self.graph.path("metrics", wildcards.corpus, "retrain", f"seed{wildcards.seed}", "full.records.jsonl")]

    def reference_option(self, wildcards: Wildcards, input: Any) -> str:
        """What PrivLeak compares with: this very model, the records of retrain, or a number of the study."""
        measured = self.measures_reference(wildcards)
        return "" if measured is None else f"--reference {'self' if measured else input.reference}"

    def source(self, wildcards: Wildcards) -> str:
        """A digest of the code that a job executes."""
        return digest(ROOT, *self.sources(wildcards))

    def sources(self, wildcards: Wildcards) -> list[str]:
        """The source files that a job executes."""
        return self.sources_under(self.names(wildcards))

    def sources_under(self, quantizers: list[str]) -> list[str]:
        """Those that scoring under these quantizers executes."""
        calibrated = ["scripts/quantize.py"] if quantizers[0] in self.graph.calibrated else []
        return [
            "scripts/evaluate.py",
            *self.graph.backend_sources(quantizers),
            *calibrated,
            *sorted(METRICS.source(metric) for metric in self.graph.study.metrics),
        ]


class Quantized(Scoring):
    """The jobs of a rule of `Graph.evaluation_rules`. listed: the quantizers of each, or ANY, that of a wildcard."""

    def __init__(self, graph: Graph, rule: str):
        super().__init__(graph)
        self.listed = graph.evaluation_rules[rule]
        self.label = label_of(rule, self.listed)

    def scores(self, kind: str) -> list[str]:
        """The files that a job writes, one for each of its quantizers."""
        alone = "{quantizer," + one_of(self.graph.scored_alone) + "}"
        names = [alone] if self.listed == ANY else self.listed
        return [self.graph.path("metrics", "{corpus}", "{model}", "seed{seed}", f"{name}.{kind}") for name in names]

    def names(self, wildcards: Wildcards) -> list[str]:
        return [wildcards.quantizer] if self.listed == ANY else self.listed

    def model(self, wildcards: Wildcards) -> str:
        """What is scored: a calibrated quantizer's checkpoint, or the model, which the others quantize in memory."""
        (name, *_) = self.names(wildcards)
        if name in self.graph.calibrated:
            return self.graph.path("quantized", "{corpus}", "{model}", "seed{seed}", name)
        return self.graph.model("{model}")

    def target(self, wildcards: Wildcards) -> list[str]:
        """The model before unlearning, where a quantizer compares with it."""
        return [self.graph.model("target")] if set(self.graph.compared) & set(self.names(wildcards)) else []

    def target_option(self, wildcards: Wildcards, input: Any) -> str:
        return f"--target {input.target}" if input.target else ""

    def environment(self, wildcards: Wildcards) -> list[str]:
        """What a job waits for whose environment is its own."""
        return self.graph.environment(self.names(wildcards)[0], "evaluation_environment")

    def python(self, wildcards: Wildcards) -> str:
        """The Python that scores."""
        return self.offline + self.graph.python(self.names(wildcards)[0], "evaluation_environment")

    def quantizers(self, wildcards: Wildcards) -> list[str]:
        """The quantizers' entries, as words of a shell command."""
        return [quoted(self.graph.rounded_how[name]) for name in self.names(wildcards)]


class Attacked(Scoring):
    """The jobs that attack a model and score it then."""

    def names(self, wildcards: Wildcards) -> list[str]:
        return [wildcards.attack]

    def target(self, wildcards: Wildcards) -> list[str]:
        """The model before unlearning, where the attack compares with it."""
        attack = self.graph.study.attacks[wildcards.attack].attack
        return [self.graph.model("target")] if ATTACKS.get(attack).needs_target else []

    def options(self, wildcards: Wildcards, input: Any) -> str:
        """The attack's entry, the quantizer which the model is under, the one that the attack names, and the target."""
        entry, how = self.graph.study.attacks[wildcards.attack], self.graph.rounded_how
        given = {"attack": entry.model_copy(update={"methods": None}).plain(), "quantizer": how[entry.under]}
        if named := ATTACKS.get(entry.attack).named_quantizer(entry):
            given["attacked-with"] = how[named]
        options = [f"--{key} {quoted(value)}" for key, value in given.items()]
        return " ".join([*options, *(f"--target {folder}" for folder in input.target)])

    def sources(self, wildcards: Wildcards) -> list[str]:
        entry = self.graph.study.attacks[wildcards.attack]
        named = ATTACKS.get(entry.attack).named_quantizer(entry)
        return [ATTACKS.source(entry.attack), *self.sources_under([entry.under, *([named] if named else [])])]
