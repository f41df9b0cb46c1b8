"""docs/findings/predicted-drawn.csv: the predicted surviving share of drawn weights, at rates of published runs.

Nobody here has the weights of a model of 7B or 8B. This shows how much the prediction depends on their size and tails;
`relapse audit --predict` makes it from a checkpoint.
"""

import csv
import itertools
from pathlib import Path
from typing import Any

import torch

from relapse.analysis import theory
from relapse.audit.compare import FORMATS
from relapse.audit.predict import STEPS, rounding
from relapse.runtime.registry import ROOT
from relapse.runtime.seeds import seed_for
from relapse.unlearning.settings import MethodSettings

# The paper's; and open-unlearning's recipe of TOFU forget10, GradDiff's and RMU's rate and SimNPO's: 400 pairs, 32 in a
# step, 10 epochs, of which the first warms up, and a rate that falls linearly to zero.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {"lr": 1e-5, "steps": STEPS},
    "tofu-1e-5": {"lr": 1e-5, "steps": 130, "warmup_steps": 13, "lr_schedule": "linear"},
    "tofu-2e-5": {"lr": 2e-5, "steps": 130, "warmup_steps": 13, "lr_schedule": "linear"},
}
SHAPE = (1024, 4096)  # rows of a 7B model's matrices
DRAWN = (("normal", 0.02), ("normal", 0.025), ("normal", 0.015), ("student-t5", 0.02))
ROUNDED = {name: FORMATS[name] for name in ("rtn-int4-g128", "bnb-fp4", "bnb-nf4", "rtn-int8")}
ROUNDED |= {f"prune-{share}": {"backend": "prune", "share": share / 100} for share in (10, 20, 30)}
SEEDS = (0, 1, 2)
OUT = ROOT / "docs" / "findings" / "predicted-drawn.csv"


def draw(distribution: str, std: float, seed: int) -> torch.Tensor:
    """Weights of SHAPE with this standard deviation, as bfloat16 holds them."""
    generator = torch.Generator().manual_seed(seed_for(seed, "drawn weights", distribution))
    values = torch.randn(SHAPE, generator=generator)
    if distribution == "student-t5":
        squares = torch.zeros(SHAPE)
        for _ in range(5):
            squares += torch.randn(SHAPE, generator=generator).square()
        values = values / (squares / 5).sqrt() / (5 / 3) ** 0.5  # whose variance is 5 / 3
    return (std * values).bfloat16().float()


def write(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["recipe", "distribution", "std", "seed", "format", "predicted", "predicted_low", "predicted_high"]
        )
        for (recipe, keys), (distribution, std), seed in itertools.product(RECIPES.items(), DRAWN, SEEDS):
            settings = MethodSettings(method="npo", **keys)
            walks = theory.walked({"w": draw(distribution, std, seed)}, ["w"], settings, keys["steps"])
            for name, entry in ROUNDED.items():
                row = (recipe, distribution, std, seed, name, *theory.predictions(walks, rounding(entry)).values())
                writer.writerow(f"{cell:.4g}" if isinstance(cell, float) else cell for cell in row)


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(OUT)
