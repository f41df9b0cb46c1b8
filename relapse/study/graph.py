"""What a study's DAG asks: which models, jobs, files, tables and figures there are, and what each job's settings are.

All that the rules look up is here, so that they read as declarations. This module uses the resolved study and the
registries, and does not import Snakemake.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from relapse.corpora import SOURCES
from relapse.corpora.settings import CorpusSettings
from relapse.metrics import METRICS
from relapse.metrics.utility import HarnessSettings, task_files_of
from relapse.models.files import origin_files
from relapse.models.settings import LocalModel
from relapse.quantization import BACKENDS, Calibrated, Compared, DataFree
from relapse.quantization.calibration import CalibratedSettings
from relapse.runtime.device import NO_GPU
from relapse.runtime.settings import Settings
from relapse.study.config import quoted
from relapse.study.preflight import trained_in
from relapse.study.settings import StudySettings
from relapse.unlearning.elsewhere import LocalUnlearned
from relapse.unlearning.methods import METHODS

# Python environments for backends that cannot live in the main one, for all studies. No study's name begins with a dot.
ENVIRONMENTS = "results/.environments"
Wildcards = Any  # Snakemake's: corpus, model or method, seed, quantizer as attributes
ANY = ["{quantizer}"]  # of an evaluation rule: each job has one quantizer, that of its wildcard


def one_of(names: Iterable[str]) -> str:
    """A wildcard constraint that matches these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


class Graph:
    """study: as `config.resolve` returns it. entries: name of a model -> its entry in the file, as `entry_names`."""

    def __init__(self, study: StudySettings, entries: Mapping[str, str]):
        self.study, self.entries = study, entries
        self.results = f"results/{study.study}"
        self.corpora, self.seeds = sorted(study.corpora), study.seeds
        self.methods, self.quantizers = sorted(study.methods), sorted(study.quantizers)
        sources = {name: entry.source for name, entry in study.models.entries().items()}
        self.made = [name for name, source in sources.items() if source in ("train", "random")]
        self.linked = [name for name in sources if name not in self.made]
        self.given = sorted({"target", "retrain"} & set(sources))  # what every method is compared with
        self.models = self.given + self.methods
        self.unlearned = sorted(study.runs())  # by this study's own runs
        self.elsewhere = [name for name in self.methods if name not in self.unlearned]
        # Without what does not change a model: the twin that its results are compared with.
        self.made_how = study.methods | {
            name: entry.model_copy(update={"twin": None}) for name, entry in study.runs().items()
        }
        # Without what does not change a weight: the models that it is applied to, and whether checkpoints are kept.
        self.rounded_how = {name: entry.rounding() for name, entry in study.quantizers.items()}
        self.attacks = sorted(study.attacks)
        self.backends = {name: BACKENDS.get(entry.backend) for name, entry in study.quantizers.items()}
        self.calibrated = [name for name in self.quantizers if isinstance(self.backends[name], Calibrated)]
        self.trained = [name for name in self.made if name != "base"]
        # Checkpoints that are deleted once used: these quantizers', of these models.
        self.deleted = [name for name in self.calibrated if not study.quantizers[name].keep]
        self.not_target = [name for name in self.models if name != "target"]
        # Those that look at the target too, and those that round weights in the process that needs them.
        self.compared = [name for name in self.quantizers if isinstance(self.backends[name], Compared)]
        data_free = [name for name in self.quantizers if isinstance(self.backends[name], DataFree)]
        self.rounding = [name for name in data_free if self.backends[name].name != "full"]

    # ---- files

    def path(self, kind: str, *parts: str) -> str:
        """results/{study}/{kind}/..., with wildcards where parts have them."""
        return "/".join([self.results, kind, *parts])

    def log(self, rule: str, item: str) -> str:
        """Where a job's output goes."""
        return self.path("logs", rule, f"{item}.log")

    def benchmark(self, rule: str, item: str, kind: str = "tsv") -> str:
        """Where Snakemake writes what a job took; the job's own stop-watch, of kind json, lies beside it."""
        return self.path("benchmarks", rule, f"{item}.{kind}")

    def model(self, name: str) -> str:
        """The folder of a model of every corpus and seed."""
        return self.path("models", "{corpus}", name, "seed{seed}")

    def each(self, models: Iterable[str], last: str = "") -> list[str]:
        """corpus/model/seedN, and what follows, for every corpus, model and seed."""
        end = f"/{last}" if last else ""
        return [
            f"{corpus}/{model}/seed{seed}{end}" for corpus in self.corpora for model in models for seed in self.seeds
        ]

    def place_of(self, made: bool) -> str:
        """A wildcard constraint: where below models/{corpus}/ the random base lies, or what is linked.

        Base has no seed.
        """
        if made:
            return one_of({"base"} & set(self.made))
        linked = [name for name in self.linked if name != "base"]
        return f"{one_of({'base'} & set(self.linked))}|({one_of(linked)})/seed\\d+"

    # ---- which models and quantizers meet

    def applied_to(self, quantizer: str) -> list[str]:
        """The models that a quantizer, or an attack, is applied to."""
        listed = (self.study.quantizers | self.study.attacks)[quantizer].methods
        if listed is None:
            return self.models
        return self.given + [name for name in self.methods if name in listed or self.entries[name] in listed]

    @cached_property
    def evaluations(self) -> list[str]:
        """corpus/model/seedN/quantizer of everything that is scored."""
        names = [*self.quantizers, *self.attacks]
        return [item for name in names for item in self.each(self.applied_to(name), name)]

    @cached_property
    def evaluation_rules(self) -> dict[str, list[str]]:
        """Rule -> the quantizers that one of its jobs scores a model under; ANY where it is one of any.

        With evaluation.quantizers_per_job above 1, those that are applied to every model and need no checkpoint share
        jobs, full precision first, which PrivLeak's reference comes from.
        """
        size = self.study.evaluation.quantizers_per_job
        if size == 1:
            return {"evaluate": ANY}
        shared = [
            name for name in self.quantizers if name not in self.calibrated and self.applied_to(name) == self.models
        ]
        shared.sort(key=lambda name: (name != "full", name))
        batches = [shared[start : start + size] for start in range(0, len(shared), size)]
        return {"evaluate": ANY} | {f"evaluate_{batch[0]}-to-{batch[-1]}": batch for batch in batches if len(batch) > 1}

    @cached_property
    def scored_alone(self) -> list[str]:
        """The quantizers that are scored in a job of their own."""
        shared = {name for names in self.evaluation_rules.values() for name in names}
        return [name for name in self.quantizers if name not in shared]

    @cached_property
    def updates(self) -> list[str]:
        return self.each(self.methods)

    @cached_property
    def runs(self) -> list[str]:
        """corpus/method/seedN of every unlearning run."""
        return self.each(self.unlearned)

    @cached_property
    def on_grids(self) -> list[str]:
        """What of every update survives where weights are rounded one by one."""
        return [self.path("absorption", item, f"{name}.json") for item in self.updates for name in self.rounding]

    @cached_property
    def absorptions(self) -> list[str]:
        return self.on_grids + [
            self.path("absorption", f"{item}.json")
            for name in self.calibrated
            for item in self.each([model for model in self.applied_to(name) if model in self.methods], name)
        ]

    @cached_property
    def kept_checkpoints(self) -> list[str]:
        """The checkpoints that the study asks to keep."""
        kept = [name for name in self.calibrated if self.study.quantizers[name].keep]
        return [self.path("quantized", item) for name in kept for item in self.each(self.applied_to(name), name)]

    @cached_property
    def timed(self) -> list[str]:
        """rule/item of every job that measures its own time."""
        jobs = [
            item
            for rule, names in self.evaluation_rules.items()
            for name in (self.scored_alone if names == ANY else [label_of(rule, names)])
            for item in self.each(self.applied_to(name) if name in self.study.quantizers else self.models, name)
        ]
        trained = self.each(self.trained)
        return [
            *(f"evaluate/{item}" for item in jobs),
            *(f"attack/{item}" for name in self.attacks for item in self.each(self.applied_to(name), name)),
            *(f"unlearn/{item}" for item in self.runs),
            *(f"train/{item}" for item in trained),
        ]

    # ---- what a job is given

    def corpus_settings(self, corpus: str) -> CorpusSettings:
        """Without what the paper calls it, which changes no text."""
        return self.study.corpora[corpus].model_copy(update={"published": None})

    def model_origin(self, name: str) -> list[str]:
        """The files of a local model's folder, or a local unlearned model's, that are read."""
        entry = self.study.models.entries().get(name) or self.study.methods[name]
        return list(map(str, origin_files(Path(entry.path)))) if isinstance(entry, LocalModel | LocalUnlearned) else []

    def corpus_origin(self, name: str) -> list[str]:
        """The files of a corpus's folder that are read."""
        entry = self.study.corpora[name]
        files = getattr(SOURCES.get(entry.source), "origin_files", None)
        return list(map(str, files(entry))) if files else []

    def trained_in(self, model: str) -> str:
        """The number format that target or retrain is trained in."""
        return trained_in(self.study, model)

    def stop_metrics(self, method: str) -> dict[str, Settings]:
        """The metrics that a method's stop rule looks at, with their settings."""
        stop_at = self.study.runs()[method].stop_at
        asked = stop_at.plain() if stop_at else ()
        return {name: self.study.metrics.get(name) or METRICS.settings({}, name) for name in asked}

    def unlearning_options(self, method: str) -> str:
        """The study's other entries that a run reads: the metrics of its stop rule, the quantizer it is aware of."""
        options, metrics = [], self.stop_metrics(method)
        if metrics:
            options.append(f"--metrics {quoted(metrics)} --batch-size {self.study.evaluation.batch_size}")
        if named := self.study.runs()[method].quantization_aware:
            options.append(f"--quantizer {quoted(self.rounded_how[named])}")
        return " ".join(options)

    @property
    def evaluation_settings(self) -> dict:
        """How metrics are run; how many quantizers share a process changes no score."""
        return self.study.evaluation.scoring()

    @property
    def harness(self) -> dict[str, HarnessSettings]:
        """The metrics whose data lm-evaluation-harness downloads."""
        return {name: entry for name, entry in self.study.metrics.items() if isinstance(entry, HarnessSettings)}

    @property
    def task_files(self) -> list[str]:
        """The user's own tasks for lm-evaluation-harness."""
        folders = {entry.include_path for entry in self.harness.values()}
        return [file for folder in sorted(filter(None, folders)) for file in task_files_of(folder)]

    def calibration_file(self, quantizer: str) -> list[str]:
        """The user's own calibration text."""
        entry = self.study.quantizers[quantizer]
        return [entry.calibration_path] if isinstance(entry, CalibratedSettings) and entry.calibration == "file" else []

    def python(self, quantizer: str, room: str) -> str:
        """The Python that quantizes (room "environment") or scores ("evaluation_environment")."""
        name = getattr(self.backends[quantizer], room, None)
        return f"{ENVIRONMENTS}/{name}/bin/python" if name else "python"

    def environment(self, quantizer: str, room: str) -> list[str]:
        """What a job in an environment of its own waits for."""
        name = getattr(self.backends[quantizer], room, None)
        return [f"{ENVIRONMENTS}/{name}/built"] if name else []

    @property
    def needs_gpu(self) -> list[str]:
        """Why the study cannot run where there is no GPU."""
        backends = [(name, its.needs_gpu) for name, its in self.backends.items() if isinstance(its, Calibrated)]
        return [NO_GPU] * self.study.gpu + [f"quantizers.{name}: {why}" for name, why in backends if why]

    # ---- which source files a job executes

    def corpus_source(self, corpus: str) -> str:
        return SOURCES.source(self.study.corpora[corpus].source)

    def method_sources(self, method: str) -> list[str]:
        entry = self.study.runs()[method]
        rounded = self.backend_sources([entry.quantization_aware]) if entry.quantization_aware else []
        return [METHODS.source(entry.method), *map(METRICS.source, self.stop_metrics(method)), *rounded]

    def backend_sources(self, quantizers: Iterable[str]) -> list[str]:
        entries = [self.rounded_how[name] for name in quantizers]
        entries += [entry["quantizer"] for entry in entries if "quantizer" in entry]
        return sorted({BACKENDS.source(entry["backend"]) for entry in entries})


def name_at(place: str) -> str:
    """The model that lies at a place below models/{corpus}/: base, or NAME/seedN."""
    return place.split("/")[0]


def label_of(rule: str, names: list[str]) -> str:
    """What a job of an evaluation rule is called in paths."""
    return "{quantizer}" if names == ANY else rule.removeprefix("evaluate_")
