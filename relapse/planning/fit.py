"""Whether a job fits the machine it is on, and which settings would.

This module measures the available memory; memory.py predicts the needed one. Every job checks before it loads anything,
since on a cluster the study may be started on another machine than the one that runs it.
"""

from collections.abc import Callable
from math import prod
from pathlib import Path

import torch

from relapse.models.files import read_config, tensor_shapes
from relapse.planning import memory
from relapse.runtime.errors import RelapseError
from relapse.unlearning.saliency import Sure
from relapse.unlearning.settings import MethodSettings

CGROUP, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
WIDTH = {"float32": 4, "bfloat16": 2}
# What may be changed about an unlearning run, the cheapest first, and how the config spells it.
LESS = (
    {"micro_batch": 1},
    {"micro_batch": 1, "gradient_checkpointing": True},
    {"micro_batch": 1, "gradient_checkpointing": True, "reference": "disk"},
    {"micro_batch": 1, "gradient_checkpointing": True, "reference": "model", "parameters": "lora"},
)


def available(on_gpu: bool) -> float:
    """Bytes that a job may take now: what is free of the GPU, or of this machine and what a cluster allows the job."""
    if on_gpu:
        return float(torch.cuda.mem_get_info()[0])
    import psutil

    return min([float(psutil.virtual_memory().available), *limits()])


def capacity(on_gpu: bool) -> float:
    """Bytes that a job may take when its turn comes: all of the GPU's memory, or what this machine has left now."""
    return float(torch.cuda.mem_get_info()[1]) if on_gpu else available(on_gpu)


def limits() -> list[float]:
    """Memory limits in bytes of the control groups (v2) that this process is in, as SLURM and containers set them."""
    lines = CGROUP.read_text().splitlines() if CGROUP.is_file() else []  # Linux only
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    folder = CGROUPS / own.strip("/")
    files = [place / "memory.max" for place in (folder, *folder.parents) if place.is_relative_to(CGROUPS)]
    found = [file.read_text().strip() for file in files if file.is_file()]
    return [float(limit) for limit in found if limit != "max"]


def architecture(folder: str | Path) -> memory.Architecture | None:
    """The shape of a model directory's model; None where its config.json does not give it."""
    config = read_config(Path(folder))
    packed = "quantization_config" in config  # whose tensors are not the model's
    counted = None if packed else sum(map(prod, tensor_shapes(Path(folder)).values()))
    return memory.Architecture.of_config(config, counted)


def gigabytes(size: float) -> str:
    """A size as people read it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def require(needed: float, what: str, instead: str, on_gpu: bool | None = None) -> None:
    """Raise RelapseError where a job's peak memory does not fit, with `instead`, what would.

    needed: bytes. on_gpu: which memory; by default the GPU's where there is one. A machine that is nearly full is
    refused, not tried: an out-of-memory ends a job hours later.
    """
    on_gpu = torch.cuda.is_available() if on_gpu is None else on_gpu
    there = available(on_gpu)
    print(f"{what}: predicted peak {gigabytes(needed)}, available {gigabytes(there)}", flush=True)
    if needed > there:
        where = torch.cuda.get_device_name() if on_gpu else "this machine"
        raise RelapseError(
            f"{what} needs about {gigabytes(needed)} of memory and {where} has {gigabytes(there)} free. {instead}"
        )


def less_for_unlearning(
    settings: MethodSettings, predicted: Callable[[MethodSettings, int], float], width: int, there: float
) -> str:
    """The first of LESS, in float32 and then in bfloat16, that would fit into `there` bytes, as an instruction.

    predicted: (method's entry, bytes of a number in `compute`) -> peak in bytes.
    """
    by_rows = isinstance(settings, Sure) and settings.mask == "row"
    for wide in [size for size in WIDTH.values() if size <= width]:
        for changes in LESS:
            entry = settings.model_copy(update=changes)
            if predicted(entry, wide) > there or (entry.parameters == "lora" and by_rows):
                continue
            keys = {key: value for key, value in changes.items() if getattr(settings, key) != value}
            written = [f"{key}: {str(value).lower()}" for key, value in keys.items()]
            if wide != width:
                written.append("compute: bfloat16 (with storage and state_storage: bfloat16)")
            if written:
                return f"It fits with {', '.join(written)}: {gigabytes(predicted(entry, wide))}."
    return "No settings make it fit: use a machine with more memory."
