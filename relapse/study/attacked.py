"""What the jobs that attack a model are given: settings, inputs, source files. Knows the DAG's view of a study."""

from typing import Any

from relapse.attacks import ATTACKS
from relapse.study.graph import Graph, Wildcards


class Attacked:
    """The attacks of a study."""

    def __init__(self, graph: Graph):
        self.graph, self.entries = graph, graph.study.attacks

    def given(self, attack: str) -> dict[str, dict[str, Any]]:
        """An attack's entry, that of the quantizer which the model is under, and of the one that the attack names."""
        entry, how = self.entries[attack], self.graph.rounded_how
        named = {"attacked-with": how[entry.quantizer]} if ATTACKS.get(entry.attack).needs_quantizer else {}
        return {"attack": entry.model_copy(update={"methods": None}).plain(), "quantizer": how[entry.under]} | named

    def compared_with(self, wildcards: Wildcards) -> list[str]:
        """The target of the same seed, where an attack compares with it."""
        if not ATTACKS.get(self.entries[wildcards.attack].attack).needs_target:
            return []
        return [self.graph.path("models", wildcards.corpus, "target", f"seed{wildcards.seed}")]

    def sources(self, attack: str) -> list[str]:
        """The source files that an attack's job executes."""
        entry = self.entries[attack]
        named = [entry.quantizer] if ATTACKS.get(entry.attack).needs_quantizer else []
        return [ATTACKS.source(entry.attack), *self.graph.evaluation_sources([entry.under, *named])]
