"""Task vector (arXiv 2212.04089, forgetting by negation; MUSE, arXiv 2407.06460): task_vector.

The target learns the forget text once more, and what changed is taken from it: target - scale (reinforced - target). A
stop rule looks at that difference. It reads no retain text, and has no step that forgets for SURE to mask.
"""

from typing import Literal

from pydantic import Field

from relapse.runtime.settings import Positive
from relapse.unlearning import losses
from relapse.unlearning.methods import METHODS, Method, Side
from relapse.unlearning.settings import MethodSettings


class TaskVector(MethodSettings):
    """The keys of the task vector."""

    scale: Positive = Field(1.0, description="s: how many times the change is subtracted from the target.")
    arithmetic: Literal["float32", "storage"] = Field(
        "float32",
        description="Number format of the subtraction. float32: rounded once, to storage. storage: difference, product "
        "and result are each rounded, as in MUSE's code with a bfloat16 model. Not used with parameters: lora.",
    )


def learn(side: Side, settings: TaskVector):
    """CE(x_f)."""
    return losses.cross_entropy(side.tokens.logits, side.tokens.targets)


METHODS.register(Method("task_vector", learn, settings=TaskVector, negated=True))
