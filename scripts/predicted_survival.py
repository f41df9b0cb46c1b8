"""docs/findings/predicted-drawn.csv: the predicted surviving share of drawn weights, at the paper's rate.

Nobody here has a 7B model's weights. This says how much the prediction depends on their size and tails; `relapse audit
--predict` makes it from a checkpoint.
"""

import csv
from pathlib import Path

import torch

from relapse.analysis.absorption import STEPS_OF_LR, predicted
from relapse.audit.compare import FORMATS
from relapse.quantization import BACKENDS
from relapse.runtime.registry import ROOT
from relapse.runtime.seeds import seed_for

LR = 1e-5
SHAPE = (1024, 4096)  # rows of a 7B model's matrices
DRAWN = (("normal", 0.02), ("normal", 0.025), ("normal", 0.015), ("student-t5", 0.02))
NAMES = ("rtn-int4-g128", "bnb-fp4", "bnb-nf4", "rtn-int8")
SEEDS = (0, 1, 2)
OUT = ROOT / "docs" / "findings" / "predicted-drawn.csv"


def draw(distribution: str, std: float, seed: int) -> torch.Tensor:
    """Weights of SHAPE with this standard deviation, as bfloat16 holds them."""
    generator = torch.Generator().manual_seed(seed_for(seed, "drawn weights", distribution))
    values = torch.randn(SHAPE, generator=generator)
    if distribution == "student-t5":
        squares = sum(torch.randn(SHAPE, generator=generator).square() for _ in range(5))
        values = values / (squares / 5).sqrt() / (5 / 3) ** 0.5  # whose variance is 5 / 3
    return (std * values).bfloat16().float()


def write(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["distribution", "std", "seed", "lr", "format", "predicted", "predicted_low", "predicted_high"])
        for distribution, std in DRAWN:
            for seed in SEEDS:
                weight = draw(distribution, std, seed)
                for name in NAMES:
                    entry = FORMATS[name]
                    grid = BACKENDS.get(entry["backend"]).grid(weight, BACKENDS.settings(entry))
                    sums = [predicted(weight, grid, factor * LR) for factor in STEPS_OF_LR]
                    shares = [above / below for above, below in sums]
                    row = (distribution, std, seed, LR, name, shares[1], min(shares), max(shares))
                    writer.writerow(f"{cell:.4g}" if isinstance(cell, float) else cell for cell in row)


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(OUT)
