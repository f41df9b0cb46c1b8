"""What a job asks a cluster for. Snakemake calls these functions with the arguments that it names."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

BASE = 4000  # MB of a process that has imported torch and transformers, with room


def growing(number: int) -> Callable[..., int]:
    """A resource of which every retry asks for as much again."""
    return lambda wildcards, attempt: attempt * number


def weights(times: int) -> Callable[..., int]:
    """Main memory in MB: 4 GB, and the weights of the job's models on disk so many times. Every retry asks for more.

    A generous estimate for a cluster, from models of 200 M parameters in float32. With a GPU the weights lie in main
    memory only while they are read and written. Raises FileNotFoundError before the models are there, upon which
    Snakemake puts the question off.
    """

    def mem_mb(wildcards: Any, input: Iterable[str], attempt: int) -> int:
        for path in input:
            os.stat(path)
        files = (file for path in input for file in Path(path).glob("*.safetensors"))
        return attempt * (BASE + times * sum(file.stat().st_size for file in files) // 10**6)

    return mem_mb
