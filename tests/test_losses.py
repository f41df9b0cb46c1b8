"""The paper's losses against values worked out by hand."""

import math

import pytest
import torch
from entries import method_settings

from relapse.text.windows import Tokens
from relapse.unlearning import losses
from relapse.unlearning.methods import METHODS, Side

LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)

# Two tokens over a vocabulary of two: p = (1/4, 3/4) and (1/2, 1/2).
LOGITS = torch.tensor([[0.0, LN3], [0.0, 0.0]])
TARGETS = torch.tensor([0, 1])


def test_cross_entropy_is_the_mean_over_tokens():
    # -log 1/4 = ln 4 and -log 1/2 = ln 2; their mean.
    assert losses.cross_entropy(LOGITS, TARGETS).item() == pytest.approx((LN4 + LN2) / 2)


def test_gradient_ascent_is_minus_cross_entropy():
    assert losses.gradient_ascent(LOGITS, TARGETS).item() == pytest.approx(-(LN4 + LN2) / 2)


def test_sequence_log_probs_are_sums_over_the_tokens_of_a_window():
    logits = torch.cat([LOGITS, LOGITS[:1]])
    targets = torch.tensor([0, 1, 1])
    sequence = torch.tensor([0, 0, 1])
    # window 0: log 1/4 + log 1/2 = -ln 8; window 1: log 3/4.
    log_probs = losses.sequence_log_probs(Tokens(logits, targets, sequence, 2))
    assert log_probs.tolist() == pytest.approx([-math.log(8), math.log(3 / 4)])


def test_npo_by_hand():
    # beta 0.5, log ratios 0 and 2 ln 3: -log sigmoid(0) = ln 2; sigmoid(-ln 3) = 1/4, so -log of it = ln 4.
    # (2 / 0.5) * (ln 2 + ln 4) / 2 = 6 ln 2.
    loss = losses.npo(torch.tensor([-1.0, 2 * LN3 - 5]), torch.tensor([-1.0, -5.0]), beta=0.5)
    assert loss.item() == pytest.approx(6 * LN2)


def test_npo_approaches_gradient_ascent_as_beta_vanishes():
    # d/dx of (2/beta) * -log sigmoid(-beta x) = 2 sigmoid(beta x) -> 1: the gradient of log p, which is GA's.
    log_probs = torch.tensor([-3.0], requires_grad=True)
    losses.npo(log_probs, torch.tensor([-1.0]), beta=1e-6).backward()
    assert log_probs.grad.item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        # p_ref = (1/2, 1/2), p = (1/4, 3/4): 1/2 ln 2 + 1/2 ln 2/3 = 1/2 ln 4/3, and 0 for the equal second token.
        ("reference_to_model", 0.5 * math.log(4 / 3) / 2),
        # 1/4 ln 1/2 + 3/4 ln 3/2
        ("model_to_reference", (0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2)) / 2),
    ],
)
def test_kl_by_hand(direction, expected):
    reference = torch.zeros(2, 2).log_softmax(-1)
    assert losses.kl_divergence(LOGITS.log_softmax(-1), reference, direction).item() == pytest.approx(expected)


def test_unknown_kl_direction():
    with pytest.raises(ValueError, match="sideways"):
        losses.kl_divergence(LOGITS, LOGITS, "sideways")


def side(**reference) -> Side:
    return Side(Tokens(LOGITS, TARGETS, torch.tensor([0, 1]), 2), **reference)


def test_methods_are_the_sums_that_their_names_say():
    beta = {"beta": 0.5}
    forget = side(reference_log_probs=torch.tensor([-LN4, -LN2]))  # log ratio 0 for both windows
    retain = side(reference_logits=torch.zeros(2, 2))
    expected = {"ga": -(LN4 + LN2) / 2, "npo": 4 * LN2}
    terms = {"gdr": (LN4 + LN2) / 2, "klr": 0.25 * math.log(4 / 3)}
    for name, value in expected.items():
        assert METHODS.get(name).forget(forget, method_settings(name, **beta)).item() == pytest.approx(value)
        assert not METHODS.get(name).constrained
        for term, retained in terms.items():
            method, settings = METHODS.get(f"{name}_{term}"), method_settings(f"{name}_{term}", **beta)
            assert method.forget(forget, settings).item() == pytest.approx(value)
            assert method.retain(retain, settings).item() == pytest.approx(retained)


def test_npo_on_logits_by_hand():
    # beta 1 and z - z_ref = ln 3 in one of four elements: sigmoid(-ln 3) = 1/4, sigmoid(0) = 1/2.
    # 2 * (ln 4 + 3 ln 2) / 4 = 5/2 ln 2.
    loss = losses.npo_on_logits(LOGITS, torch.zeros(2, 2), beta=1.0)
    assert loss.item() == pytest.approx(2.5 * LN2)


def test_npo_on_logits_sees_what_a_log_probability_does_not():
    # All logits of a token raised by the same amount: the distribution is the same, the released loss is not.
    assert losses.npo_on_logits(LOGITS + 1, LOGITS, beta=1.0) > losses.npo_on_logits(LOGITS, LOGITS, beta=1.0)


def test_kl_on_logits_by_hand():
    # exp(0) * (0 - z) summed: -ln 3; one window or two.
    reference = torch.zeros(2, 2)
    assert losses.kl_on_logits(LOGITS, reference, windows=1).item() == pytest.approx(-LN3)
    assert losses.kl_on_logits(LOGITS, reference, windows=2).item() == pytest.approx(-LN3 / 2)
    # reference (0, ln 3) for the first token against 0: 3 * ln 3.
    assert losses.kl_on_logits(reference, LOGITS, windows=1).item() == pytest.approx(3 * LN3)


def test_kl_on_logits_has_no_lower_bound():
    reference = torch.zeros(2, 2)
    assert losses.kl_on_logits(LOGITS + 1e6, reference, windows=1).item() < -1e6


def test_released_formulation_reaches_both_terms():
    settings = method_settings("npo_klr", beta=1.0, formulation="released")
    method = METHODS.get("npo_klr")
    assert method.forget_reference(settings) == method.retain_reference(settings) == "logits"
    reference = side(reference_logits=torch.zeros(2, 2))
    assert method.forget(reference, settings).item() == pytest.approx(2.5 * LN2)
    assert method.retain(reference, settings).item() == pytest.approx(-LN3 / 2)


def test_released_klr_under_sure_is_a_divergence_summed_over_a_window():
    # 1/2 ln 4/3 for the first token, 0 for the second, each in a window of its own: the mean over two windows; in one
    # window the sum.
    keys = {"beta": 1.0, "kl_direction": "model_to_reference", "formulation": "released"}
    settings = method_settings("npo_klr_sure", **keys)
    for name in ("ga_klr_sure", "npo_klr_sure"):
        method = METHODS.get(name)
        reference = side(reference_logits=torch.zeros(2, 2))
        assert method.retain(reference, settings).item() == pytest.approx(0.5 * math.log(4 / 3) / 2)
        reference.tokens.sequence, reference.tokens.size = torch.tensor([0, 0]), 1
        assert method.retain(reference, settings).item() == pytest.approx(0.5 * math.log(4 / 3))
        assert (method.forget_mean(settings), method.retain_mean(settings)) == ("tokens", "windows")
    # Logits raised by any amount are the same distribution, and no distribution takes it below 0.
    shifted = Side(Tokens(LOGITS + 100, TARGETS, torch.tensor([0, 1]), 2), reference_logits=LOGITS)
    assert METHODS.get("npo_klr_sure").retain(shifted, settings).item() == pytest.approx(0, abs=1e-5)
    assert METHODS.get("npo_klr").retain(shifted, settings).item() < 0


@pytest.mark.parametrize("name", METHODS.names())
def test_sure_is_its_base_method_under_a_mask(name):
    method = METHODS.get(name)
    if method.sure:
        base = METHODS.get(name.removesuffix("_sure"))
        assert method.forget == base.forget
        if name.endswith("_klr_sure"):  # which differ in the released formulation alone
            settings = method_settings(name, kl_direction="model_to_reference")
            reference = side(reference_logits=torch.zeros(2, 2))
            assert method.retain(reference, settings) == base.retain(reference, settings)
        else:
            assert method.retain == base.retain
        assert method.settings.model_fields.keys() - base.settings.model_fields.keys() == {
            "mask",
            "percentile",
            "modules",
        }
    elif name.split("_")[0] in ("ga", "npo"):  # a method of one's own need not have it
        assert f"{name}_sure" in METHODS.names()
