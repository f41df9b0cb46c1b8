"""What a study shows in the end: its tables and figures, and what they must know of its entries.

Tables are the paper's, as far as the study has something for them; figures likewise. This module uses the graph of a
study; relapse/report/ draws the tables and figures.
"""

from functools import cached_property

from relapse.analysis.study import ROUNDING, bits
from relapse.study.graph import Graph
from relapse.unlearning.methods import METHODS


class Products:
    """The tables and figures of a study."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self._methods = {name: METHODS.get(entry.method) for name, entry in graph.study.runs().items()}
        self._sure = [name for name, method in self._methods.items() if method.sure]

    def averaged(self, name: str) -> bool:
        """Whether the reconstructed average covers a model.

        It covers the paper's utility-constrained methods; not a point of a grid, not another model's twin, and no model
        that was made elsewhere.
        """
        if name in self.graph.elsewhere:
            return False
        method = self._methods[name]
        of_the_paper = method.constrained and not method.sure and self.graph.entries[name] == name
        return of_the_paper and name not in {entry.twin for entry in self.graph.study.runs().values()}

    @cached_property
    def _rounding_by_text(self) -> list[str]:
        """The quantizers that the paper's second table is about."""
        graph = self.graph
        return [name for name in graph.calibrated if graph.rounded_how[name]["backend"] in ROUNDING]

    @cached_property
    def tables(self) -> list[int]:
        """The numbers of the paper's tables: methods, calibrated quantizers at 4 bit, SURE."""
        calibrated = any(bits(self.graph.rounded_how[name]) == 4 for name in self._rounding_by_text)
        return [1] + ([2] if calibrated else []) + ([3] if self._sure else [])

    @cached_property
    def published(self) -> dict[str, str]:
        """Corpus -> what the paper calls it, where it has numbers for it."""
        corpora = self.graph.study.corpora.items()
        return {name: entry.published for name, entry in corpora if entry.published}

    @cached_property
    def figures(self) -> dict[str, list[str]]:
        """Name of a figure -> the files that it reads."""
        graph = self.graph
        result = graph.results
        rates: dict[str, set[float]] = {}
        for name, entry in graph.study.runs().items():
            rates.setdefault(graph.entries[name], set()).add(entry.lr)
        four_bit = any(bits(graph.rounded_how[name]) == 4 for name in graph.rounding)
        why = [f"{result}/recovery.csv", f"{result}/absorption.csv"]
        plain = set(graph.entries) - set(self._sure)
        wanted = {
            # A bar for every point of a grid would be none.
            "retained_knowledge": (set(graph.entries) <= set(graph.entries.values()), [f"{result}/retained.csv"]),
            "counterfactual": (bool(graph.compared), [f"{result}/counterfactual.csv"]),
            "survival": (graph.absorptions, why),
            "lr": (graph.absorptions and any(len(found) > 1 for found in rates.values()), why),
            "formats": (
                graph.absorptions and len(graph.rounding) > 5 and any(len(found) > 1 for found in rates.values()),
                why,
            ),
            "grid": (four_bit and plain, graph.on_grids),
            "sure": (four_bit and self._sure, [f"{result}/metrics.csv"]),
            "costs": (
                any(entry.sam_rho or entry.quantization_aware for entry in graph.study.runs().values()),
                [f"{result}/recovery.csv", f"{result}/costs.csv"],
            ),
            "hidden": (graph.attacks, [f"{result}/recovery.csv"]),
            "calibration": (
                self._rounding_by_text and any(self.averaged(name) for name in graph.methods),
                [f"{result}/recovery.csv"],
            ),
        }
        return {name: files for name, (has_something, files) in wanted.items() if has_something}

    def category(self, figure: str) -> str:
        """The chapter of the report that a figure stands in."""
        return {
            "retained_knowledge": "2 Retained knowledge",
            "calibration": "4 Recovery",
            "hidden": "4 Recovery",
            "costs": "4 Recovery",
        }.get(figure, "5 Why")

    @cached_property
    def summary(self) -> dict:
        """What tables and figures state about a study: names, and what a reader must know of each entry."""
        graph, study = self.graph, self.graph.study
        return {
            "study": study.study,
            "seeds": graph.seeds,
            "corpora": graph.corpora,
            "models": graph.given,
            "methods": {
                name: entry.plain()
                | {
                    "base": graph.entries[name],
                    "constrained": name in self._methods and self._methods[name].constrained,
                    "averaged": self.averaged(name),
                }
                for name, entry in study.methods.items()
            },
            "quantizers": {
                name: graph.rounded_how[name] | ({} if entry.methods is None else {"methods": graph.applied_to(name)})
                for name, entry in study.quantizers.items()
            },
            "attacks": {
                name: entry.model_copy(update={"methods": None}).plain()
                | ({} if entry.methods is None else {"methods": graph.applied_to(name)})
                for name, entry in study.attacks.items()
            },
            "metrics": study.metrics,
            "evaluation": study.evaluation,
        }
