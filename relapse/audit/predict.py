"""What would survive each format if this model were unlearned at a learning rate: before anybody unlearns it.

From the weights of one checkpoint, the rate and the formats alone, by analysis/theory.py: weights kept in bfloat16 walk
as AdamW would move them. Of every matrix some rows are read and walked, so that a 7B model takes minutes and the memory
of its largest matrix. The range of a prediction is over the theory's drifts.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from relapse.analysis import theory
from relapse.analysis.bfloat16 import edge
from relapse.audit.compare import FORMATS, does_not_fit, finite
from relapse.models import stored
from relapse.models.files import read_model
from relapse.models.weights import StoredWeights
from relapse.quantization import BACKENDS, DataFree
from relapse.unlearning.settings import MethodSettings

STEPS = 500  # of the walk: about what a run takes
LIKELY = theory.DRIFTS.index(0.3)
Shares = tuple[float | None, ...]  # one for each of the theory's drifts


@dataclass
class Prediction:
    """The predicted surviving shares of a format: of all matrices, and of each. unfit: why the format has none."""

    format: str
    unfit: str | None = None
    layers: dict[str, Shares] = field(default_factory=dict)
    sums: list[list[float]] = field(default_factory=lambda: [[0.0, 0.0] for _ in theory.DRIFTS])

    @property
    def whole(self) -> Shares:
        """The share of all matrices for each drift; None where no weight could move."""
        return tuple(above / below if below else None for above, below in self.sums)


@torch.no_grad()
def predict(
    folder: Path,
    lr: float,
    formats: dict[str, dict] | None = None,
    report: Callable[[int, int], None] = lambda done, whole: None,
) -> list[Prediction]:
    """A prediction for each format, of a model that is stored in bfloat16 while AdamW takes steps of about `lr`.

    `report(done, whole)` gets the number of weights read. Raises RelapseError for a folder that is no whole model, and
    for weights that are not finite.
    """
    formats = FORMATS if formats is None else formats
    stored.check(folder)
    known = read_model(folder)
    names = [f"{layer}.weight" for layer in known.linear]
    weights = StoredWeights(folder, names if known.transposed else ())
    shapes = known.linear
    found = [Prediction(name, does_not_fit(entry, shapes) or _looks_at_text(entry)) for name, entry in formats.items()]
    done, whole = 0, sum(out * width for out, width in shapes.values())
    for name in names:
        weight = finite(folder, name, weights[name])
        walks = walked(weight, lr)
        for prediction in (one for one in found if not one.unfit):
            rounded = rounding(formats[prediction.format])
            parts = [theory.parts_of_share(*walk, rounded) for walk in walks]
            prediction.layers[name] = tuple(above / below if below else None for above, below in parts)
            stands_for = weight.numel() / walks[0][0].numel()
            for total, part in zip(prediction.sums, parts, strict=True):
                for place in (0, 1):
                    total[place] += stands_for * part[place]
        done += weight.numel()
        report(done, whole)
    return found


def walked(weight: torch.Tensor, lr: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Sampled rows of a matrix (out, in) before and after STEPS steps at a constant rate, for each drift."""
    settings = MethodSettings(method="npo", lr=lr, steps=STEPS)
    return [pair for (pair,) in theory.walked({"it": weight}, ["it"], settings, STEPS) or ()]


def rounding(entry: dict) -> theory.Rounded:
    """How a format rounds a matrix."""
    backend, settings = BACKENDS.get(entry["backend"]), BACKENDS.settings(entry)
    assert isinstance(backend, DataFree)  # as every format of an audit
    return lambda matrix: backend.rounded(matrix, settings)


def _looks_at_text(entry: dict) -> str | None:
    if isinstance(BACKENDS.get(entry["backend"]), DataFree):
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
        f"  {'format':16}{'predicted':>10}  for drifts of 0.1 to 1",
    ]
    for one in found:
        low, high = min(_known(one), default=None), max(_known(one), default=None)
        range_ = one.unfit or f"{_number(low)} to {_number(high)}"
        lines.append(f"  {one.format:16}{_number(None if one.unfit else one.whole[LIKELY]):>10}  {range_}")
    fit = [one for one in found if not one.unfit]
    width = max((len(name) for one in fit for name in one.layers), default=0)
    lines += ["", f"  {'':{width}}" + "".join(f"{one.format:>15}" for one in fit)]
    for name in fit[0].layers if fit else ():
        lines.append(f"  {name:{width}}" + "".join(f"{_number(one.layers[name][LIKELY]):>15}" for one in fit))
    return "\n".join(lines)


def _known(prediction: Prediction) -> list[float]:
    return [share for share in prediction.whole if share is not None]


def save(out: Path, found: list[Prediction]) -> Path:
    """Write predicted.csv to `out`: a row for each format and matrix, and one (matrix empty) for all of them."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "predicted.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["format", "matrix", *(f"drift {drift:g}" for drift in theory.DRIFTS)])
        for one in (one for one in found if not one.unfit):
            for name, shares in (("", one.whole), *one.layers.items()):
                writer.writerow([one.format, name, *("" if share is None else f"{share:.6g}" for share in shares)])
    return out / "predicted.csv"
