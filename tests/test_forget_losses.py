"""Forget losses of methods beyond the paper's, against values worked out by hand from their equations."""

import math

import pytest
import torch
from entries import method_settings

from relapse.text.windows import Tokens
from relapse.unlearning import losses
from relapse.unlearning.methods import METHODS, Side
from relapse.unlearning.methods.rmu import direction
from relapse.unlearning.trainer import RetainWeight

LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)

# Two tokens over a vocabulary of two, each in a window of its own: p = (1/4, 3/4) and (1/2, 1/2), the token that comes
# next having 1/4 and 1/2.
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


def test_pdu_flattens_logits():
    # Largest less mean logit: ln 3 / 2 and 0, squared, of a mean of two.
    assert forget("pdu", side(), epsilon=1.0) == pytest.approx((LN3 / 2) ** 2 / 2)


def test_the_dual_variable_follows_the_retain_loss():
    # From 1 by twice what the loss is above 0.5: 1 + 2 * 0.5 = 2; 2 - 2 * 0.4 = 1.2; never below 0.
    weight = RetainWeight(METHODS.get("pdu"), method_settings("pdu", alpha=1.0, epsilon=0.5, dual_lr=2.0))
    seen = [weight.value]
    for loss in (1.0, 0.1, -5.0):
        weight.update(loss)
        seen.append(weight.value)
    assert seen == pytest.approx([1.0, 2.0, 1.2, 0.0])
    fixed = RetainWeight(METHODS.get("ga_gdr"), method_settings("ga_gdr", alpha=3.0))
    fixed.update(10.0)
    assert fixed.value == 3.0


def test_rmu():
    # ||(3, 0) - 5 u||^2 and ||(0, 4) - 5 u||^2 are 9 + 25 - 30 u_1 and 16 + 25 - 40 u_2; their mean.
    u = direction(2, seed=7)
    assert u.norm().item() == pytest.approx(1) and (u >= 0).all()
    its = Side(Tokens(LOGITS, TARGETS, torch.tensor([0, 1]), 2, torch.tensor([[3.0, 0.0], [0.0, 4.0]])), seed=7)
    assert forget("rmu", its, block=0, steering=5.0) == pytest.approx((75 - 30 * u[0] - 40 * u[1]).item() / 2)
    # The reference has (3, 1) and (2, 4): squared distances 1 and 4.
    its.reference_hidden = torch.tensor([[3.0, 1.0], [2.0, 4.0]])
    settings = method_settings("rmu", block=0)
    assert METHODS.get("rmu").retain(its, settings).item() == pytest.approx(2.5)
    assert list(METHODS.get("rmu").trained(method_settings("rmu", block=4))) == [2, 3, 4]


def test_another_seed_steers_elsewhere():
    assert not torch.equal(direction(8, seed=0), direction(8, seed=1))
    assert torch.equal(direction(8, seed=1), direction(8, seed=1))


def test_idknll_is_the_cross_entropy_of_what_is_read():
    assert forget("idknll", side()) == pytest.approx((LN4 + LN2) / 2)


@pytest.mark.parametrize("name", ["idkdpo", "altpo"])
def test_dpo(name):
    # Log-ratios of the true answers 0 and ln 2, of the others ln 3 and ln 2: sigmoid(ln 3) = 3/4, sigmoid(0) = 1/2.
    its = side(reference_log_probs=torch.tensor([-LN4, -2 * LN2]))
    its.other = side(reference_log_probs=torch.tensor([-LN4 - LN3, -2 * LN2]))
    assert forget(name, its, beta=1.0) == pytest.approx(math.log(4 / 3) + LN2)
    # Without the preferred answer's part it is NPO.
    its.other = side(reference_log_probs=torch.tensor([-LN4, -LN2]))
    assert forget(name, its, beta=1.0) == pytest.approx(
        METHODS.get("npo").forget(its, method_settings("npo", beta=1.0))
    )
