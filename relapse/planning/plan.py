"""What a study will take before it is started: peak memory, disk and time of each kind of job.

Knows which jobs a study has and how large its models and texts are, as far as that can be told without the Hub; how
much memory a job takes is memory.py's. Times are of floating-point operations at the speed of a short measurement, good
to about a factor of two; imports are counted at their usual seconds.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from relapse.corpora.corpus import Corpus
from relapse.model_files import Model
from relapse.planning import memory
from relapse.planning.fit import LESS, WIDTH, available, gigabytes
from relapse.preflight import local_corpora, local_models, longest_prompt, metric_prompts, started_from
from relapse.prompts import choice_texts
from relapse.quantization import BACKENDS, Calibrated

IMPORTS = 5.0  # seconds until a job has imported what it needs
EFFICIENCY = 0.5  # share of a matrix product's speed that a whole training step reaches


@dataclass(frozen=True)
class Job:
    """One kind of job. count: how many there are; memory, disk: bytes, disk being what stays; seconds: of one job.

    instead: settings that would take less, where it does not fit. None: not known before the Hub is asked.
    """

    name: str
    count: int
    memory: float | None
    disk: float | None
    seconds: float | None
    instead: str = ""
    at_most: bool = False  # it stops early once it has forgotten enough


def speed(seconds: float = 0.3) -> float:
    """Floating-point operations a second of one job: a float32 product on one thread, or a bfloat16 one on a GPU."""
    gpu = torch.cuda.is_available()
    size, dtype = (4096, torch.bfloat16) if gpu else (512, torch.float32)
    left = torch.ones(size, size, dtype=dtype, device="cuda" if gpu else "cpu")
    threads, runs = torch.get_num_threads(), 0
    torch.set_num_threads(1)
    left @ left
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        left @ left
        runs += 1
    if gpu:
        torch.cuda.synchronize()
    torch.set_num_threads(threads)
    return 2 * size**3 * runs / (time.perf_counter() - start)


class Texts:
    """Sizes of a corpus's texts in tokens of a model's tokenizer."""

    def __init__(self, corpus: Corpus, tokenizer: Any):
        self.corpus, self.tokenizer = corpus, tokenizer

    def tokens(self, part: str) -> int:
        """Tokens of a part of the raw text."""
        return sum(len(encoding.ids) for encoding in self.tokenizer.encode_batch(list(self.corpus.raw[part])))

    def prompts(self, metrics: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
        """What the metrics generate or score, as `memory.scoring` takes it."""
        asked = {
            name: (len(texts), longest_prompt(self.tokenizer, texts, metrics[name]), metrics[name]["max_new_tokens"])
            for name, texts in metric_prompts(self.corpus, metrics).items()
        }
        if "privleak" in metrics:
            texts = [text for part in self.corpus.privleak.values() for text in part]
            asked["privleak"] = (len(texts), longest_prompt(self.tokenizer, texts, {}), 0)
        if "world_facts" in metrics:
            texts = [text for item in self.corpus.world for text in choice_texts(item)]
            asked["world_facts"] = (len(texts), longest_prompt(self.tokenizer, texts, {}), 0)
        return asked


def jobs(study: Mapping[str, Any], operations: float) -> Iterator[Job]:
    """Every kind of job of a resolved study. operations: floating-point operations a second."""
    models, corpora = local_models(study), local_corpora(study)
    width, seeds, on_gpu = WIDTH[study["compute"]], len(study["seeds"]), torch.cuda.is_available()
    for corpus_name, corpus in corpora.items():
        several = f" ({corpus_name})" if len(study["corpora"]) > 1 else ""
        origin = models.get(started_from(study, "target"), Model())
        shape = origin.architecture
        texts = Texts(corpus, origin.tokenizer(corpus)) if corpus and origin.tokenizer else None
        for name in ("target", "retrain"):
            entry = study["models"].get(name)
            if entry and entry["source"] == "train":
                needed = shape and memory.training(shape, entry, width, on_gpu)
                work = shape and 6 * shape.parameters * entry["steps"] * entry["batch_size"] * entry["max_length"]
                seconds = work and IMPORTS + work / operations / EFFICIENCY
                lower = "Lower its batch_size or max_length, or use compute: bfloat16."
                yield Job(f"train {name}{several}", seeds, needed, _stored(shape), seconds, lower)
        for name, entry in study["methods"].items():
            yield _unlearning(f"unlearn {name}{several}", entry, shape, texts, width, seeds, operations, on_gpu)
        count = seeds * sum(_models(study, entry) for entry in study["quantizers"].values())
        yield _scoring(f"score{several}", study, shape, texts, width, count, operations, on_gpu)
        for name, entry in study["quantizers"].items():
            if isinstance(BACKENDS.get(entry["backend"]), Calibrated):
                yield _calibrating(f"quantize {name}{several}", study, entry, shape, operations)
        if shape:
            yield Job(f"absorption{several}", seeds * len(study["methods"]), memory.comparing(shape), 0.0, None)


def _models(study: Mapping[str, Any], quantizer: Mapping[str, Any]) -> int:
    """Models of a seed that a quantizer is applied to."""
    methods = study["methods"] if quantizer.get("methods") is None else quantizer["methods"]
    return len(methods) + sum(name in study["models"] for name in ("target", "retrain"))


def _stored(shape: memory.Architecture | None) -> float | None:
    return shape and shape.parameters * memory.STORED


def _unlearning(name, entry, shape, texts, width, seeds, operations, on_gpu) -> Job:
    if not shape or not texts:
        return Job(name, seeds, None, _stored(shape), None)
    tokens = {part: texts.tokens(raw) for part, raw in (("forget", "forget"), ("retain", "retain1"))}

    def needed(settings: Mapping[str, Any]) -> float:
        return memory.unlearning(shape, settings, width, tokens, on_gpu)

    fitting = next((changes for changes in LESS if needed({**entry, **changes}) <= available()), None)
    instead = (
        f"Set {', '.join(f'{key}: {str(value).lower()}' for key, value in fitting.items())}."
        if fitting
        else "No settings of this entry make it fit: use a machine with more memory, or compute: bfloat16."
    )
    windows = -(-tokens["forget"] // entry["max_length"])
    steps = entry.get("steps") or -(-entry["epochs"] * windows // entry["batch_size"])
    halves = 2 if "alpha" in entry else 1
    seen = steps * entry["batch_size"] * halves * entry["max_length"]
    again = 4 / 3 if entry["gradient_checkpointing"] else 1
    seconds = IMPORTS + again * 6 * shape.parameters * seen / operations / EFFICIENCY
    # A table on disk is gone when the job ends, but it must have been there.
    table = memory.reference_table(shape, entry, width, tokens) if entry["reference"] == "disk" else 0.0
    stored = shape.parameters * (4 if entry["storage"] == "float32" else memory.STORED)
    return Job(name, seeds, needed(entry), stored + table, seconds, instead, entry.get("stop_at") is not None)


def _scoring(name, study, shape, texts, width, count, operations, on_gpu) -> Job:
    if not shape or not texts:
        return Job(name, count, None, None, None)
    asked = texts.prompts(study["metrics"])
    needed = memory.scoring(shape, width, study["evaluation"]["batch_size"], asked, on_gpu)
    seen = sum(number * (longest + new) for number, longest, new in asked.values())
    seconds = IMPORTS + 2 * shape.parameters * seen / operations / EFFICIENCY
    return Job(name, count, needed, 0.0, seconds, "Lower evaluation.batch_size, or use compute: bfloat16.")


def _calibrating(name, study, entry, shape, operations) -> Job:
    count = len(study["seeds"]) * _models(study, entry)
    if not shape:
        return Job(name, count, None, None, None)
    packed = shape.linear * entry["bits"] / 8 + (shape.parameters - shape.linear) * 4
    seconds = IMPORTS + 6 * shape.parameters * entry["samples"] * entry["sample_length"] / operations / EFFICIENCY
    return Job(name, count, memory.calibrating(shape, entry), packed if entry["keep"] else 0.0, seconds)


def table(found: list[Job]) -> str:
    """The plan as lines of text, with its sums."""
    lines = [f"{'job':34} {'number':>6} {'memory':>9} {'disk':>9} {'time':>9}"]
    for job in found:
        cells = (_shown(job.memory, gigabytes), _shown(job.disk and job.disk * job.count, gigabytes))
        clock = ("< " if job.at_most else "") + _shown(job.seconds, _clock, job.memory is None)
        lines.append(f"{job.name:34} {job.count:6} {cells[0]:>9} {cells[1]:>9} {clock:>9}")
    known = [job for job in found if job.seconds is not None]
    lines.append(
        "memory: of one job, beside what its imports take (0.4 GB); disk: models and checkpoints; time: of one job on "
        "this machine, to a factor of two"
    )
    if known:
        size = gigabytes(sum((job.disk or 0) * job.count for job in found))
        lines.append(f"in all {size} and {_clock(sum(job.seconds * job.count for job in known))} of work")
    if any(job.memory is None for job in found):
        lines.append("?: not known before the model and the corpus are here; the job itself looks before it loads them")
    return "\n".join(lines)


def too_large(found: list[Job], free_disk: float) -> list[str]:
    """What does not fit this machine, with what would; nothing where everything does."""
    there = available()
    problems = [
        f"{job.name} needs about {gigabytes(job.memory)} of memory, and there are {gigabytes(there)}. {job.instead}"
        for job in found
        if job.memory is not None and job.memory > there
    ]
    disk = sum((job.disk or 0) * job.count for job in found)
    if disk > free_disk:
        problems.append(
            f"the study needs about {gigabytes(disk)} of disk, and there are {gigabytes(free_disk)} free: use fewer "
            "seeds or methods, or run from a folder on a larger disk"
        )
    return problems


def _shown(value: float | None, how: Any, unknown: bool = True) -> str:
    """A number in words; where there is none, whether it is not known yet or not estimated."""
    return how(value) if value is not None else "?" if unknown else ""


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
