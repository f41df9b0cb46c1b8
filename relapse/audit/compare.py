"""What of an update survives each format, and where in the weights it lies, layer by layer.

With t the target's weights, u the unlearned model's and Q a format, over the matrices that the format rounds:

    surviving share = <Q(u) - Q(t), u - t> / ||u - t||^2

as in analysis/absorption.py, which explains them. One matrix at a time is read, of the target once for all unlearned
models. verdict.py and description.py interpret the numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from relapse.models import stored
from relapse.models.files import Model, read_model
from relapse.models.headers import tensor_formats
from relapse.models.matching import finite, must_have_shapes
from relapse.models.weights import StoredWeights
from relapse.quantization import BACKENDS, DataFree
from relapse.runtime.errors import ConfigError, RelapseError

# The formats that rounding alone gives, as people deploy them. Name -> a quantizer entry of a study.
FORMATS: dict[str, dict] = {
    "rtn-int8": {"backend": "rtn", "bits": 8, "group_size": "row"},
    "rtn-int4-g128": {"backend": "rtn", "bits": 4, "group_size": 128},
    "rtn-int4-g64": {"backend": "rtn", "bits": 4, "group_size": 64},
    "rtn-int4-g32": {"backend": "rtn", "bits": 4, "group_size": 32},
    "rtn-int3-g128": {"backend": "rtn", "bits": 3, "group_size": 128},
    "bnb-int8": {"backend": "bitsandbytes", "format": "int8"},
    "bnb-fp4": {"backend": "bitsandbytes", "format": "fp4"},
    "bnb-nf4": {"backend": "bitsandbytes", "format": "nf4"},
}
LOWEST, HIGHEST = -40, 16  # powers of two that the sizes of weights are sorted by


@dataclass
class Survival:
    """What a format keeps of an update. survived: <Q(u) - Q(t), u - t> of all matrices that have changed.

    layers: the surviving share of each. unfit: why the format cannot hold this model.
    """

    survived: float = 0.0
    squared: float = 0.0
    layers: dict[str, float] = field(default_factory=dict)
    unfit: str | None = None

    @property
    def share(self) -> float | None:
        """The surviving share of all matrices; None where none has changed."""
        return self.survived / self.squared if self.squared else None

    @property
    def worst(self) -> tuple[str, float] | None:
        """The matrix that keeps least of its update."""
        return min(self.layers.items(), key=lambda item: item[1], default=None)


@dataclass
class Update:
    """An unlearned model's change. outside: squared change of what no format rounds. called: the folder that the user
    knows it by, where its weights in `folder` are a merged adapter.

    sizes: three sums over the matrices by floor(log2 |t|), from LOWEST to HIGHEST: weights, changed weights, squared
    change. unchanged: matrices without any change. low_rank: matrix -> (rank, share of its squared change in it).
    """

    folder: Path
    formats: dict[str, Survival]
    outside: float = 0.0
    squared: float = 0.0
    weights: int = 0
    changed: int = 0
    matrices: int = 0
    unchanged: list[str] = field(default_factory=list)
    sizes: Tensor = field(default_factory=lambda: torch.zeros(3, HIGHEST - LOWEST + 1, dtype=torch.float64))
    largest: tuple[float, str] = (0.0, "")
    notes: list[str] = field(default_factory=list)
    called: Path | None = None

    @property
    def name(self) -> Path:
        """The folder that the user knows it by."""
        return self.called or self.folder

    @property
    def outside_share(self) -> float | None:
        """The share of squared change in weights that no format rounds."""
        whole = self.outside + self.squared
        return self.outside / whole if whole else None

    def add(self, name: str, before: Tensor, change: Tensor) -> float:
        """Take a matrix's change into the sums that no format has a part in. Returns its squared change."""
        moved = change != 0
        squares = change.square()
        squared = squares.sum(dtype=torch.float64).item()
        self.matrices += 1
        self.weights += change.numel()
        self.squared += squared
        self.largest = max(self.largest, (squared, name))
        if not squared:
            self.unchanged.append(name)
            return 0.0
        place = (
            (torch.frexp(before.abs())[1] - 1).clamp_(LOWEST, HIGHEST).sub_(LOWEST)
        )  # frexp's mantissa is in [0.5, 1)
        of_moved = place[moved]
        self.changed += len(of_moved)
        for row, (places, weights) in enumerate(((place, None), (of_moved, None), (of_moved, squares[moved].double()))):
            self.sizes[row] += torch.bincount(places.flatten(), weights, minlength=HIGHEST - LOWEST + 1)
        return squared


def compare(
    target: Path,
    unlearned: Sequence[Path],
    formats: dict[str, dict] | None = None,
    report: Callable[[int, int], None] = lambda done, whole: None,
    called: Sequence[Path] | None = None,
) -> list[Update]:
    """What each of the unlearned models has changed of the target, and what of it survives each format.

    `report(done, whole)` gets the number of weights compared. Raises RelapseError before anything is read for models
    that are not whole or not of one architecture; while reading, for weights that are not finite; and for an update
    that is none.
    """
    formats = FORMATS if formats is None else formats
    known = must_match(target, unlearned)
    layers = {f"{layer}.weight": shape for layer, shape in known.linear.items()}
    updates = [
        Update(folder, {one: Survival() for one in formats}, called=name)
        for folder, name in zip(unlearned, called or unlearned, strict=True)
    ]
    unfit = {name: reason for name, entry in formats.items() if (reason := does_not_fit(entry, known.linear))}
    for update in updates:
        update.notes = notes(target, update.folder)
        for name, reason in unfit.items():
            update.formats[name].unfit = reason
    opened = [StoredWeights(folder, tuple(layers) if known.transposed else ()) for folder in (target, *unlearned)]
    # A tied output head may be stored or not; where one of them leaves it out, the embedding has it.
    shared = sorted(set(opened[0]).intersection(*opened[1:]))
    sizes = {name: torch.Size(shape).numel() for name, (_, shape) in tensor_formats(target).items()}
    done, whole = 0, sum(sizes[name] for name in shared)
    for name in shared:
        before, *after = (
            finite(folder, name, weights[name]) for folder, weights in zip((target, *unlearned), opened, strict=True)
        )
        if name in layers:
            _compare_matrix(name, before, after, updates, {one: formats[one] for one in formats if one not in unfit})
        else:
            for update, weight in zip(updates, after, strict=True):
                update.outside += (weight - before).square().sum(dtype=torch.float64).item()
        done += sizes[name]
        report(done, whole)
    for update in updates:
        if not update.squared + update.outside:
            raise RelapseError(
                f"{update.name} equals {target} in every weight: there is no update. Name the model after unlearning"
            )
    return updates


@torch.no_grad()
def _compare_matrix(
    name: str, before: Tensor, after: Sequence[Tensor], updates: Sequence[Update], formats: dict[str, dict]
) -> None:
    changes = [weight - before for weight in after]
    squares = [update.add(name, before, change) for update, change in zip(updates, changes, strict=True)]
    if not any(squares):
        return
    for one, entry in formats.items():
        backend, settings = BACKENDS.get(entry["backend"]), BACKENDS.settings(entry)
        assert isinstance(backend, DataFree)  # as every format of an audit
        rounded = backend.rounded(before, settings)
        for place, (update, weight, change) in enumerate(zip(updates, after, changes, strict=True)):
            if not squares[place]:
                continue
            kept = (backend.rounded(weight, settings) - rounded).mul_(change).sum(dtype=torch.float64).item()
            squared = squares[place]
            survival = update.formats[one]
            survival.survived += kept
            survival.squared += squared
            survival.layers[name] = kept / squared


def must_match(target: Path, unlearned: Sequence[Path]) -> Model:
    """The target's shape. Raises RelapseError for a folder that is no whole model, and for models that differ."""
    for folder in (target, *unlearned):
        stored.check(folder)
    for folder in unlearned:
        must_have_shapes(target, folder)
    return read_model(target)


def notes(target: Path, unlearned: Path) -> list[str]:
    """What a reader should know before trusting the comparison: other number formats, and swapped folders."""
    found = []
    kinds = [sorted({kind for kind, _ in tensor_formats(folder).values()}) for folder in (target, unlearned)]
    if kinds[0] != kinds[1]:
        found.append(
            f"the target is stored in {', '.join(kinds[0])} and the unlearned model in {', '.join(kinds[1])}: part of "
            "the change may be that of the number format"
        )
    times = [max(file.stat().st_mtime for file in folder.glob("*.safetensors")) for folder in (target, unlearned)]
    if times[1] < times[0]:
        found.append("the unlearned model's files are older than the target's: are --target and --unlearned swapped?")
    return found


def does_not_fit(entry: dict, shapes: dict) -> str | None:
    """Why a format cannot hold layers of these (out, in) shapes; None where it can."""
    try:
        BACKENDS.get(entry["backend"]).check(shapes, BACKENDS.settings(entry))
    except ConfigError as error:
        return str(error)
    return None
