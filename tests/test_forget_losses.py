"""Forget losses of methods beyond the paper's, against values worked out by hand from their equations."""

import math

import pytest
import torch
from entries import method_settings

from relapse.text.windows import Tokens
from relapse.unlearning import losses
from relapse.unlearning.methods import METHODS, Side

LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)

# Two tokens over a vocabulary of two, each in a window of its own: p = (1/4, 3/4) and (1/2, 1/2); 1/4 and 1/2 come next.
LOGITS = torch.tensor([[0.0, LN3], [0.0, 0.0]])
TARGETS = torch.tensor([0, 1])


def side(logits=LOGITS, sequence=(0, 1), **reference) -> Side:
    return Side(Tokens(logits, TARGETS, torch.tensor(sequence), len(set(sequence))), **reference)


def forget(name: str, its: Side, **keys) -> float:
    return METHODS.get(name).forget(its, method_settings(name, **keys)).item()


def test_simnpo():
    # sigmoid(-log 1/4) = 4/5 and sigmoid(-log 1/2) = 2/3; -2 times the mean of their logarithms.
    assert forget("simnpo", side(), beta=1.0) == pytest.approx(math.log(5 / 4) + math.log(3 / 2))
    # A margin of ln 2: sigmoid(ln 4 - ln 2) = 2/3, sigmoid(0) = 1/2.
    assert forget("simnpo", side(), beta=1.0, margin=LN2) == pytest.approx(LN3)
    # Both tokens in one window: log p is -ln 8, per token -1.5 ln 2.
    assert forget("simnpo", side(sequence=(0, 0)), beta=1.0) == pytest.approx(2 * math.log(1 + 2**-1.5))


def test_wga():
    # (1/4 log 1/4 + 1/2 log 1/2) / 2 = -(ln 2 / 2 + ln 2 / 2) / 2
    assert forget("wga", side(), beta=1.0) == pytest.approx(-LN2 / 2)
    assert forget("wga", side(), beta=0.0) == pytest.approx(losses.gradient_ascent(LOGITS, TARGETS).item())


def test_satimp():
    # Weights 1/4 * 3/4 and 1/2 * 1/2: -(3/16 * 2 ln 2 + 1/4 ln 2) / 2
    assert forget("satimp", side(), beta1=1.0, beta2=1.0) == pytest.approx(-5 / 16 * LN2)
    assert forget("satimp", side(), beta1=2.0, beta2=0.0) == pytest.approx(forget("wga", side(), beta=2.0))


@pytest.mark.parametrize(("name", "weight"), [("wga", 1 / 4), ("satimp", 3 / 16)])
def test_weights_are_constants(name, weight):
    # The gradient of the first token's log p(z) is (1 - p, -(1 - p)) = (3/4, -3/4), times its weight, of a mean of two.
    logits = LOGITS.clone().requires_grad_(True)
    METHODS.get(name).forget(side(logits), method_settings(name, beta=1.0, beta1=1.0, beta2=1.0)).backward()
    assert logits.grad[0].tolist() == pytest.approx([weight * 3 / 8, -weight * 3 / 8])


def test_ceu():
    # Without the token that comes next all of the distribution is on the other one, whose p is 3/4 and 1/2.
    assert forget("ceu", side()) == pytest.approx((math.log(4 / 3) + LN2) / 2)


def test_ceu_gradient_takes_from_the_next_token_what_the_others_get():
    # softmax(z) minus the distribution without the token: (1/4, 3/4) - (0, 1), of a mean of two.
    logits = LOGITS.clone().requires_grad_(True)
    METHODS.get("ceu").forget(side(logits), method_settings("ceu")).backward()
    assert logits.grad[0].tolist() == pytest.approx([1 / 8, -1 / 8])


def test_undial():
    # Reference logits 0, less ln 3 at the next token: (1/4, 3/4) and (3/4, 1/4), against (1/4, 3/4) and (1/2, 1/2).
    expected = (1 / 4 * LN4 + 3 / 4 * math.log(4 / 3) + LN2) / 2
    its = side(reference_logits=torch.zeros(2, 2))
    assert forget("undial", its, penalty=LN3) == pytest.approx(expected)
