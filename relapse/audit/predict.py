"""What would survive each format if this model were unlearned at a learning rate: before anybody unlearns it.

From the weights of one checkpoint, the rate and the grids alone, as analysis/absorption.py predicts it: parameters kept
in bfloat16 move below the edge of AdamW's step and nowhere else. One matrix at a time is read, so that a 7B model needs
the memory of its largest matrix. Knows weights and formats; the range is that of steps from half to twice the rate.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from relapse.analysis.absorption import STEPS_OF_LR, predicted
from relapse.analysis.bfloat16 import edge
from relapse.audit.compare import FORMATS, does_not_fit, finite
from relapse.models import stored
from relapse.models.files import read_model
from relapse.models.weights import StoredWeights
from relapse.quantization import BACKENDS, DataFree

Sums = dict[float, list[float]]  # factor of the rate -> numerator and denominator of a surviving share


@dataclass
class Prediction:
    """The predicted surviving shares of a format: of all matrices, and of each. unfit: why the format has none."""

    format: str
    unfit: str | None = None
    layers: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    sums: Sums = field(default_factory=lambda: {factor: [0.0, 0.0] for factor in STEPS_OF_LR})

    @property
    def whole(self) -> tuple[float | None, ...]:
        """The share of all matrices for each of STEPS_OF_LR; None where no weight could move."""
        return tuple(above / below if below else None for above, below in self.sums.values())


@torch.no_grad()
def predict(
    folder: Path,
    lr: float,
    formats: dict[str, dict] | None = None,
    report: Callable[[int, int], None] = lambda done, whole: None,
) -> list[Prediction]:
    """A prediction for each format, of a model that is stored in bfloat16 while AdamW takes steps of about `lr`.

    `report(done, whole)` hears of weights read. Raises RelapseError for a folder that is no whole model, and for
    weights that are not finite.
    """
    formats = FORMATS if formats is None else formats
    stored.check(folder)
    known = read_model(folder)
    names = [f"{layer}.weight" for layer in known.linear]
    weights = StoredWeights(folder, names if known.transposed else ())
    shapes = known.linear
    found = [
        Prediction(name, does_not_fit(entry, shapes) or _no_grid(entry, shapes)) for name, entry in formats.items()
    ]
    done, whole = 0, sum(out * width for out, width in shapes.values())
    for name in names:
        weight = finite(folder, name, weights[name])
        for prediction in (one for one in found if not one.unfit):
            entry = formats[prediction.format]
            grid = BACKENDS.get(entry["backend"]).grid(weight, BACKENDS.settings(entry))
            sums = {factor: predicted(weight, grid, factor * lr) for factor in STEPS_OF_LR}
            for factor, parts in sums.items():
                for place, part in enumerate(parts):
                    prediction.sums[factor][place] += part
            prediction.layers[name] = tuple(above / below if below else None for above, below in sums.values())
        done += weight.numel()
        report(done, whole)
    return found


def _no_grid(entry: dict, shapes: dict[str, tuple[int, int]]) -> str | None:
    backend, (_, width) = BACKENDS.get(entry["backend"]), next(iter(shapes.values()))
    if isinstance(backend, DataFree) and backend.grid(torch.ones(1, width), BACKENDS.settings(entry)) is not None:
        return None
    return "it does not round weight by weight, so that nothing can be predicted"


def _number(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"


def as_text(folder: Path, lr: float, found: list[Prediction]) -> str:
    """What the terminal shows: a line for each format, then a line for each matrix."""
    lines = [
        str(folder),
        f"  Predicted surviving share of an update at lr {lr:g} with weights kept in bfloat16: its edge is "
        f"{edge(lr):.4g}.",
        "",
        f"  {'format':16}{'predicted':>10}  for steps of lr/2 to 2 lr",
    ]
    for one in found:
        low, high = min(_known(one), default=None), max(_known(one), default=None)
        range_ = one.unfit or f"{_number(low)} to {_number(high)}"
        lines.append(f"  {one.format:16}{_number(None if one.unfit else one.whole[1]):>10}  {range_}")
    fit = [one for one in found if not one.unfit]
    width = max((len(name) for one in fit for name in one.layers), default=0)
    lines += ["", f"  {'':{width}}" + "".join(f"{one.format:>15}" for one in fit)]
    for name in fit[0].layers if fit else ():
        lines.append(f"  {name:{width}}" + "".join(f"{_number(one.layers[name][1]):>15}" for one in fit))
    return "\n".join(lines)


def _known(prediction: Prediction) -> list[float]:
    return [share for share in prediction.whole if share is not None]


def save(out: Path, found: list[Prediction]) -> Path:
    """Write predicted.csv to `out`: a row for each format and matrix, and one (matrix empty) for all of them."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "predicted.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["format", "matrix", *(f"lr x {factor:g}" for factor in STEPS_OF_LR)])
        for one in (one for one in found if not one.unfit):
            for name, shares in (("", one.whole), *one.layers.items()):
                writer.writerow([one.format, name, *("" if share is None else f"{share:.6g}" for share in shares)])
    return out / "predicted.csv"
