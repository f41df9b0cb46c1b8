"""The end of a task vector, by hand: which number format does what, and that looking changes nothing."""

import pytest
import torch
from entries import method_settings

from relapse.unlearning.negation import Negation


def negation(parameter, **keys):
    return Negation(None, [parameter], method_settings("task_vector", **keys), seed=0)


def test_what_was_learned_is_taken_from_the_target():
    # 2 - 0.5 (3 - 2) = 1.5 and -1 - 0.5 (-3 + 1) = 0
    weight = torch.tensor([2.0, -1.0])
    its = negation(weight, scale=0.5, storage="float32")
    weight.copy_(torch.tensor([3.0, -3.0]))
    its.apply()
    assert weight.tolist() == [1.5, 0.0]


def test_a_look_shows_the_negated_model_and_leaves_the_run_alone():
    weight = torch.tensor([2.0])
    its = negation(weight, scale=1.0)
    weight.fill_(3.0)
    with its.shown():
        assert weight.item() == 1.0
    assert weight.item() == 3.0
    with pytest.raises(RuntimeError), its.shown():
        raise RuntimeError
    assert weight.item() == 3.0


def test_arithmetic_in_the_storage_type_rounds_three_times():
    # bfloat16 around 1 has steps of 2^-7, below 1 of 2^-8. The run moved 1 by 2^-7, and scale is 1 + 2^-4 + 2^-9:
    # float32: 1 - 2^-7 (1 + 2^-4 + 2^-9) lies between 1 - 2^-7 - 2^-8 and 1 - 2^-7, and is nearer to the latter.
    for arithmetic in ("float32", "storage"):
        weight = torch.tensor([1.0])
        its = negation(weight, scale=1 + 2**-4 + 2**-9, arithmetic=arithmetic)
        weight.fill_(1 + 2**-7)
        its.apply()
        assert weight.item() == 1 - 2**-7
    # Where it differs: from 1 + 2^-7 to 2 are 1 - 2^-7, and scale 1 + 2^-7 makes 1 - 2^-14 of it. float32: 1 + 2^-7
    # less that is 2^-7 + 2^-14; storage: the product is rounded to 1, which leaves 2^-7.
    found = {}
    for arithmetic in ("float32", "storage"):
        weight = torch.tensor([1 + 2**-7])
        its = negation(weight, scale=1 + 2**-7, arithmetic=arithmetic)
        weight.fill_(2.0)
        its.apply()
        found[arithmetic] = weight.item()
    assert found == {"float32": 2**-7 + 2**-14, "storage": 2**-7}
