"""Up to which weight a step is not lost in bfloat16. Arithmetic only, without torch."""

import math


def edge(step: float) -> float:
    """|w| from which on a step is lost in rounding to nearest bfloat16: 2^(e+1), e largest with 2^(e-8) < step.

    bfloat16 keeps 8 significant bits, so that values in [2^e, 2^(e+1)) lie 2^(e-7) apart and a step of at most half of
    that rounds back. 0.0156 for a step of 6e-5, 0.031 for 1.2e-4.
    """
    exponent = math.floor(math.log2(256 * step))
    if 2.0**exponent == 256 * step:
        exponent -= 1  # a tie goes to the even neighbour, which is as often the old value
    return 2.0 ** (exponent + 1)


def passing_step(half_width: float) -> float:
    """Step above which the edge is at or above `half_width`; a power of two, as edges are."""
    return 2.0 ** (math.ceil(math.log2(half_width)) - 1) / 256
