"""What a study will take before it is started: peak memory, disk and time of each kind of job.

This module lists the jobs of a study and the sizes of its models and texts. remote.py asks the Hub for sizes, memory.py
predicts the memory of a job. Times are floating-point operations divided by the speed in a short measurement, right
within about a factor of two, plus the usual seconds of imports.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from relapse.analysis.study import bits
from relapse.attacks import ATTACKS, AttackSettings
from relapse.corpora.corpus import Corpus
from relapse.corpora.muse import read_folder
from relapse.models import adapter, bfloat16_copy
from relapse.models.files import Model, location
from relapse.planning import memory
from relapse.planning.fit import WIDTH, gigabytes, less_for_unlearning
from relapse.planning.remote import Remote
from relapse.planning.texts import Texts
from relapse.quantization.calibration import PARTS, CalibratedSettings
from relapse.quantization.settings import QuantizerSettings
from relapse.study.preflight import local_corpora, local_models, trained_in
from relapse.study.prompt_needs import started_from
from relapse.study.settings import StudySettings
from relapse.training.settings import TrainedModel
from relapse.unlearning.elsewhere import MadeElsewhere
from relapse.unlearning.methods import METHODS
from relapse.unlearning.settings import MethodSettings

IMPORTS = 5.0  # seconds until a job has imported what it needs
EFFICIENCY = 0.5  # share of a matrix product's speed that a whole training step reaches


@dataclass(frozen=True)
class Job:
    """One kind of job. count: how many there are; memory, disk: bytes, disk being what stays; seconds: of one job.

    instead: settings that would take less, where it does not fit. None: not known before model and corpus are here, or,
    for the time of a job on a GPU, where there is none to measure.
    """

    name: str
    count: int
    memory: float | None
    disk: float | None
    seconds: float | None
    instead: str = ""
    at_most: bool = False  # it stops early once it has forgotten enough
    at_least: bool = False  # memory and disk without what depends on texts that are not here yet


def jobs(study: StudySettings, operations: float | None, there: float, remote: Remote) -> Iterator[Job]:
    """Every kind of job of a study.

    operations: floating-point operations a second, or None where its jobs run on another kind of device. there: bytes
    of memory that a job may take. remote: what the study has on the Hub.
    """
    models = local_models(study) | remote.models
    corpora = {name: corpus or _made(study, name) for name, corpus in local_corpora(study).items()}
    width, seeds = WIDTH[study.compute], len(study.seeds)
    on_gpu = study.gpu or torch.cuda.is_available()
    for name, size in remote.downloads.items():
        yield Job(f"download {name}", 1, 0.0, size, None)
    for corpus_name, corpus in corpora.items():
        several = f" ({corpus_name})" if len(study.corpora) > 1 else ""
        origin = models.get(started_from(study, "target"), Model())
        shape = origin.architecture
        texts = Texts(corpus, origin.tokenizer(corpus), origin.render) if corpus and origin.tokenizer else None
        for name in ("target", "retrain"):
            entry = study.models.entries().get(name)
            if isinstance(entry, TrainedModel):
                compute = WIDTH[trained_in(study, name)]
                needed = memory.training(shape, entry, compute, on_gpu) if shape else None
                work = 6 * shape.parameters * entry.steps * entry.batch_size * entry.max_length if shape else None
                seconds = _seconds(work, operations)
                lower = "Lower its batch_size or max_length, or use compute: bfloat16."
                yield Job(f"train {name}{several}", seeds, needed, _stored(shape), seconds, lower)
            elif entry and models[name].linear and (folder := location(entry)):
                yield from _rounding(f"round {name}{several}", folder, seeds)
            elif name in remote.rounded:
                yield Job(f"round {name}{several}", seeds, None, _stored(models[name].architecture), None)
        for name, method in study.methods.items():
            if isinstance(method, MadeElsewhere):
                yield from _linking(f"link {name}{several}", method, shape, seeds)
                continue
            yield _unlearning(f"unlearn {name}{several}", method, shape, texts, width, seeds, operations, on_gpu, there)
        count = seeds * sum(_models(study, entry) for entry in study.quantizers.values())
        yield _scoring(f"score{several}", study, shape, texts, width, count, operations, on_gpu)
        for name, attack in study.attacks.items():
            count = seeds * _models(study, attack)
            scored = _scoring(f"attack {name}{several}", study, shape, texts, width, count, operations, on_gpu)
            yield _attacked(scored, attack, shape, width, operations, on_gpu)
        for name, quantizer in study.quantizers.items():
            if isinstance(quantizer, CalibratedSettings):
                yield _calibrating(f"quantize {name}{several}", study, quantizer, shape, texts, operations, on_gpu)
        if shape:
            yield Job(f"absorption{several}", seeds * len(study.methods), memory.comparing(shape), 0.0, 0.0)


def _made(study: StudySettings, name: str) -> Corpus | None:
    """A corpus from the Hub that an earlier run of the study has made; None where there is none."""
    folder = Path("results") / study.study / "corpora" / name
    return read_folder(folder) if folder.is_dir() else None


def _attacked(scored: Job, entry: AttackSettings, shape, width, operations, on_gpu) -> Job:
    """A job that attacks a model before it scores it, and may score it several times."""
    if not shape:
        return scored
    needed, work, times = ATTACKS.get(entry.attack).takes(shape, entry, width, on_gpu)
    seconds = scored.seconds and scored.seconds * times + (_seconds(work, operations) or 0.0)
    return replace(scored, memory=max(scored.memory or 0.0, needed), seconds=seconds)


def _models(study: StudySettings, quantizer: QuantizerSettings | AttackSettings) -> int:
    """Models of a seed that a quantizer, or an attack, is applied to."""
    methods = study.methods if quantizer.methods is None else quantizer.methods
    return len(methods) + sum(name != "base" for name in study.models.entries())


def _stored(shape: memory.Architecture | None) -> float | None:
    return shape.parameters * memory.STORED if shape else None


def _seconds(work: float | None, operations: float | None) -> float | None:
    """Seconds of a job of `work` floating-point operations; None where one of the two is not known."""
    return IMPORTS + work / operations / EFFICIENCY if work and operations else None


def _rounding(name: str, folder: Path, seeds: int) -> Iterator[Job]:
    """Files of other number formats are copied in bfloat16; one at a time is in memory."""
    if copies := [bfloat16_copy.size(file) for file in bfloat16_copy.to_round(sorted(folder.iterdir()))]:
        yield Job(name, seeds, max(copies), sum(copies), None)


def _linking(name: str, entry: MadeElsewhere, shape: memory.Architecture | None, seeds: int) -> Iterator[Job]:
    """An unlearned model from elsewhere: an adapter is merged in float32; what is linked as it is takes nothing."""
    folder = location(entry)
    if shape and folder and adapter.is_adapter(folder):
        yield Job(name, seeds, memory.loading(shape, 4), shape.parameters * (4 if entry.as_stored else 2), None)
    elif folder and not entry.as_stored:
        yield from _rounding(name, folder, seeds)


def _unlearning(name, entry, shape, texts, width, seeds, operations, on_gpu, there) -> Job:
    if not shape:
        return Job(name, seeds, None, None, None)
    # Without the texts, a table of the reference's logits is left out.
    parts = {"forget": "forget", "retain": "retain1"}
    cut = {part: texts.windows(raw, entry) if texts else (0, 0) for part, raw in parts.items()}
    if texts and METHODS.get(entry.method).answers:
        cut["forget"] = texts.pairs()
    tokens = {part: size for part, (_, size) in cut.items()}
    kept = entry.reference != "model" and memory.reference_table(shape, entry, width, dict.fromkeys(tokens, 1)) > 0

    def needed(settings: MethodSettings, wide: int) -> float:
        return memory.unlearning(shape, settings, wide, tokens, on_gpu)

    steps = entry.steps or -(-entry.epochs * cut["forget"][0] // entry.batch_size)
    halves = METHODS.get(entry.method).halves
    passes = len(halves) + (len([half for half in halves if half != "retain"]) if entry.sam_rho is not None else 0)
    seen = steps * entry.batch_size * passes * entry.max_length
    again = 4 / 3 if entry.gradient_checkpointing else 1
    seconds = _seconds(again * 6 * shape.parameters * seen, operations)
    # A table on disk is gone when the job ends, but it must have been there.
    table = memory.reference_table(shape, entry, width, tokens) if entry.reference == "disk" else 0.0
    stored = shape.parameters * (4 if entry.storage == "float32" else memory.STORED)
    at_most = entry.stop_at is not None
    instead = less_for_unlearning(entry, needed, width, there)
    return Job(
        name, seeds, needed(entry, width), stored + table, seconds, instead, at_most, at_least=kept and not texts
    )


def _scoring(name, study, shape, texts, width, count, operations, on_gpu) -> Job:
    if not shape:
        return Job(name, count, None, 0.0, None)
    asked = texts.prompts(study.metrics) if texts else {}
    needed = memory.scoring(shape, width, study.evaluation.batch_size, asked, on_gpu)
    seen = sum(number * (longest + new) for number, longest, new in asked.values())
    seconds = _seconds(2 * shape.parameters * seen, operations)
    less = "Lower evaluation.batch_size, or use compute: bfloat16."
    return Job(name, count, needed, 0.0, seconds, less, at_least=not texts)


def _calibrating(name, study, entry, shape, texts, operations, on_gpu) -> Job:
    count = len(study.seeds) * _models(study, entry)
    if not shape:
        return Job(name, count, None, None, None)
    packed = shape.linear * (bits(entry.plain()) or 32) / 8 + (shape.parameters - shape.linear) * 4
    length, tokens = entry.sample_length, entry.samples * entry.sample_length
    part = PARTS.get(entry.calibration)
    if texts and part:  # all there are, where fewer are there than are asked for
        tokens = min(tokens, texts.tokens(part))
    seconds = _seconds(6 * shape.parameters * tokens, operations)
    # The target's stay, since absorption is measured against them.
    kept = count if entry.keep else len(study.seeds)
    needed = memory.calibrating(shape, tokens, length, on_gpu)
    return Job(name, count, needed, packed * kept / count, seconds, "Use fewer samples of a shorter sample_length.")


def table(found: list[Job]) -> str:
    """The plan as lines of text, with its sums."""
    width = max(len(job.name) for job in found)
    lines = [f"{'job':{width}} {'number':>6} {'memory':>9} {'disk':>9} {'time':>9}"]
    for job in found:
        least = "> " if job.at_least else ""
        cells = (least + _shown(job.memory, gigabytes), _shown(job.disk and job.disk * job.count, gigabytes))
        clock = ("< " if job.at_most and job.seconds else "") + _shown(job.seconds, _clock)
        lines.append(f"{job.name:{width}} {job.count:6} {cells[0]:>9} {cells[1]:>9} {clock:>9}")
    known = [job.seconds * job.count for job in found if job.seconds]
    lines.append(
        "memory: of one job, beside what its imports take (0.4 GB); disk: models and checkpoints; time: of one job on "
        "this machine, to a factor of two"
    )
    size = gigabytes(sum((job.disk or 0) * job.count for job in found))
    work = f" and {_clock(sum(known))} of work" if known else ""
    if known or any(job.disk for job in found):
        lines.append(f"in all {size}{work}")
    if any(job.memory is None or job.at_least for job in found):
        lines.append("?, >: not known before model and corpus are here; the job itself looks before it loads them")
    if not known:
        lines.append("time: not known without a GPU to measure, or before model and corpus are here")
    return "\n".join(lines)


def too_large(found: list[Job], there: float, free_disk: float) -> list[str]:
    """What does not fit, with what would; nothing where everything does. there: bytes of memory that a job may take."""
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


def _shown(value: float | None, how: Any) -> str:
    """A number as text: "?" for None, nothing for 0."""
    return "?" if value is None else how(value) if value else ""


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
