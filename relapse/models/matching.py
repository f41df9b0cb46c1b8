"""Whether two models can be subtracted: the same weights by name and shape, finite, and tokens with the same numbers.

This module reads headers and tokenizer.json, and the weights one at a time for checks that need their values.
"""

from pathlib import Path

import torch

from relapse.models.headers import tensor_formats
from relapse.models.weights import StoredWeights
from relapse.runtime.errors import RelapseError

HEAD = "lm_head.weight"  # a tied output head may be stored or not


def must_have_shapes(target: Path, other: Path) -> None:
    """Raise RelapseError where the two folders' weights differ in names or shapes, from their headers alone."""
    wanted, found = tensor_formats(target), tensor_formats(other)
    names = sorted(name for name in wanted.keys() ^ found.keys() if name != HEAD)
    if names:
        which = other if names[0] in wanted else target
        raise RelapseError(f"{target} and {other} are of different architectures: {which} has no {names[0]}")
    for name in sorted(wanted.keys() & found.keys()):
        if wanted[name][1] != found[name][1]:
            raise RelapseError(
                f"{target} and {other} are of different sizes: {name} is {wanted[name][1]} in the first and "
                f"{found[name][1]} in the second"
            )


def must_have_tokens(target: Path, other: Path) -> None:
    """Raise RelapseError where a token of the target's tokenizer.json has another number in the other's, or none.

    Where one of them has no such file, nothing is compared.
    """
    from tokenizers import Tokenizer

    files = [folder / "tokenizer.json" for folder in (target, other)]
    if not all(file.is_file() for file in files):
        return
    wanted, found = (Tokenizer.from_file(str(file)).get_vocab(with_added_tokens=True) for file in files)
    differing = sorted((number, token) for token, number in wanted.items() if found.get(token) != number)
    if differing:
        number, token = differing[0]
        has = f"{token!r} as {found[token]}" if token in found else f"no {token!r}"
        raise RelapseError(
            f"{target} and {other} have different vocabularies: token {number} of the first is {token!r}, and the "
            f"second has {has}. It is no unlearned version of this target"
        )


def finite(folder: Path, name: str, weight: torch.Tensor) -> torch.Tensor:
    """`weight` itself. Raises RelapseError where it holds NaN or an infinite value."""
    if not torch.isfinite(weight).all():
        raise RelapseError(f"{folder}: {name} has weights that are not finite (NaN or infinite)")
    return weight


def must_differ(target: Path, other: Path, called: Path) -> None:
    """Read both models' weights. Raises RelapseError for one that is not finite, and where all are equal.

    called: the folder that the user knows `other` by.
    """
    before, after = StoredWeights(target), StoredWeights(other)
    equal = True
    for name in after:
        weight = finite(called, name, after[name])
        if equal and name in before:
            equal = torch.equal(before[name], weight)
    if equal:
        raise RelapseError(
            f"{called} equals {target} in every weight, as stored here: nothing was unlearned, or rounding to bfloat16 "
            "lost all of it (as_stored: true keeps it)"
        )
