"""The theory's table of a study, before anything is trained: zero's cell of every format, and what survives it.

Weights are normal, of a standard deviation of one's choice.
"""

import argparse
from functools import partial

import torch

from relapse.analysis import theory
from relapse.quantization import BACKENDS, DataFree
from relapse.runtime.errors import ConfigError, exit_on_error
from relapse.study import config

ROWS = 64  # of the matrix that is walked
WALKED_BY = ("lr", "lr_schedule", "warmup_steps", "steps", "storage", "optimizer", "region")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="config.yaml, or another study")
    parser.add_argument("--deviation", type=float, required=True, help="standard deviation of the weights")
    parser.add_argument("--width", type=int, default=512, help="inputs of a layer")
    parser.add_argument("--steps", type=int, help="that a run takes; left out, all that its entry allows")
    args = parser.parse_args()
    study = config.load(args.study)
    weight = torch.randn(ROWS, args.width, generator=torch.Generator().manual_seed(1)) * args.deviation
    weight = weight.bfloat16().float()
    cells = []
    for name, settings in study.quantizers.items():
        backend = BACKENDS.get(settings.backend)
        if isinstance(backend, DataFree) and name != "full":
            backend.check({"layer": tuple(weight.shape)}, settings)
            rounded = partial(backend.rounded, settings=settings)
            cells.append((theory.zero_cell([weight], rounded), name, rounded))
    cells.sort(key=lambda cell: -cell[0])
    walks, names = {}, {}
    for name, run in study.runs().items():
        if run.parameters == "lora":  # which the theory does not predict
            continue
        steps = min(filter(None, (args.steps, run.steps)), default=None)
        if steps is None:
            raise ConfigError(f"methods.{name}: how many steps its epochs take depends on the corpus: give --steps")
        key = steps, *(getattr(run, key) for key in WALKED_BY)
        if key not in walks:
            walks[key] = theory.walked({"layer": weight}, ["layer"], run, steps, steps)
            names[key] = name
    print("| format | zero's cell, sigma |", *(f"`{name}` |" for name in names.values()))
    print("|---|---:|" + "---:|" * len(names))
    for cell, name, rounded in cells:
        found = (theory.predictions(each, rounded).values() for each in walks.values())
        shares = ("{:.2f} ({:.2f}–{:.2f})".format(*values) for values in found)
        print(f"| `{name}` | {cell:.3f} |", " | ".join(shares), "|", flush=True)


if __name__ == "__main__":
    exit_on_error(main)
