"""The device that a model runs on: the GPU where there is one, else the CPU."""

import os

import torch

from relapse.runtime.errors import RelapseError

NO_GPU = (
    "the study sets gpu: true, and torch sees no GPU here. Run it where there is one, or on a cluster that gives its "
    "jobs one (docs/cluster.md); with gpu: false it runs on the CPU, a large model for days"
)


def device() -> torch.device:
    """The accelerator if there is one, else the CPU.

    Raises RelapseError where the environment sets RELAPSE_NEEDS_GPU and there is no GPU.
    """
    if not torch.cuda.is_available() and os.environ.get("RELAPSE_NEEDS_GPU"):
        raise RelapseError(NO_GPU)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
