"""A quantizer's error without its component along the update, matrix by matrix.

With w the attacked model's weights, t the target's and e = Q(w) - w: w + e - (<e, w - t> / ||w - t||^2) (w - t). A
control: the weights are as coarse, and the update is whole. Knowledge that returns is not due to the update's loss.
"""

from torch import Tensor

from relapse.attacks import ATTACKS, Attack, Attacked
from relapse.attacks.perturbation import PerturbSettings, perturb
from relapse.models.weights import StoredWeights


def without_part_along(error: Tensor, update: Tensor) -> Tensor:
    """The part of `error` that is orthogonal to `update`; all of it where the update is zero."""
    squared = update.square().sum()
    return error if squared == 0 else error - (error * update).sum() / squared * update


class Orthogonal(Attack):
    """For the target, whose update is zero, this is the quantized target."""

    name = "orthogonal"
    settings = PerturbSettings
    examples = ({},)
    needs_quantizer = True
    needs_target = True

    def apply(self, attacked: Attacked, settings: PerturbSettings) -> None:
        assert attacked.target is not None  # needs_target
        target = StoredWeights(attacked.target)

        def change(layer: str, weight: Tensor, error: Tensor) -> Tensor:
            return without_part_along(error, weight - target[f"{layer}.weight"].to(weight.device))

        perturb(attacked, change)


ATTACKS.register(Orthogonal())
