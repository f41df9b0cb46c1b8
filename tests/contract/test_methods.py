"""Every registered method through one suite: what holds for an unlearning method, whatever its losses."""

import copy
import itertools
import os
import subprocess
import sys
import tempfile

import pytest
import torch
from entries import method_settings

from relapse.models.loading import linear_layers, load_model, load_tokenizer
from relapse.models.saving import save
from relapse.runtime.errors import RelapseError
from relapse.runtime.registry import ROOT
from relapse.text.windows import Tokens, predict
from relapse.unlearning.answers import windows
from relapse.unlearning.losses import sequence_log_probs
from relapse.unlearning.methods import METHODS, Side
from relapse.unlearning.reference import Reference
from relapse.unlearning.step import gradients_of_step, losses_of_step
from relapse.unlearning.storage import STORAGE
from relapse.unlearning.trainer import in_blocks, moving_parameters, unlearn

FORGET = ["Ada Moss is a chemist.", "Question: Where was Ada Moss born?\nAnswer: Lund", "Ada Moss, born in 1961."]
RETAIN = ["Ivo Brandt is a pilot.", "She works for Arvo and collects stamps.", "Answer: He is a pilot."]
PAIRS = [
    {"question": "Where was Ada Moss born?", "answer": "Lund"},
    {"question": "Who collects stamps?", "answer": "Ada Moss does."},
    {"question": "When?", "answer": "1961"},
]
OTHERS = ["I don't know.", "She does not know him.", "No."]
# Powers small enough that a model which knows nothing has a gradient to forget by.
COMMON = {"steps": 4, "lora": {"rank": 4, "alpha": 8.0}, "block": 0, "epsilon": 1.0, "beta": 0.1, "beta1": 1.0}


def once(names):
    """Without NAME_gdr and NAME_sure where NAME and NAME_klr are there: retain terms and masks are the same code.

    They are tried with the paper's own two families.
    """
    papers = [name for name in names if name.split("_")[0] in ("ga", "npo")]
    doubled = {
        f"{name}{end}" for name in set(names) - set(papers) for end in ("_gdr", "_sure", "_gdr_sure", "_klr_sure")
    }
    return [name for name in names if name in papers or name not in doubled]


every_method = pytest.mark.parametrize(
    "method", [METHODS.get(name) for name in once(METHODS.names())], ids=lambda method: method.name
)
full_and_lora = pytest.mark.parametrize("parameters", ["full", "lora"])


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    return load_tokenizer(tiny_llama)


@pytest.fixture
def model(tiny_llama):
    return load_model(tiny_llama)


def each(tokenizer, texts):
    """A window for each text."""
    return [[tokenizer.bos_token_id, *tokenizer(text)["input_ids"]] for text in texts]


def settings_for(method, **changes):
    return method_settings(method.name, **COMMON | changes)


def texts_for(tokenizer, method):
    """Forget windows, retain windows, and the other answers of a method that compares two."""
    forget, retain = (each(tokenizer, texts) for texts in (FORGET, RETAIN))
    if not method.answers:
        return forget, retain, []
    true, other = windows(tokenizer, PAIRS, [[pair["answer"] for pair in PAIRS], OTHERS], 200)
    return (true, retain, other) if method.compared else (other, retain, [])


def run(model, tokenizer, method, seed=0, **changes):
    forget, retain, other = texts_for(tokenizer, method)
    losses = []
    settings = settings_for(method, **changes)
    unlearn(
        model,
        forget,
        retain,
        method,
        settings,
        seed,
        lambda step, *text: losses.append(text[:2]),
        other=other,
    )
    return losses


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@full_and_lora
@every_method
def test_same_seed_same_bytes(tiny_llama, tokenizer, method, parameters):
    first, second, other = (load_model(tiny_llama) for _ in range(3))
    losses = run(first, tokenizer, method, parameters=parameters)
    assert losses == run(second, tokenizer, method, parameters=parameters)
    run(other, tokenizer, method, seed=1, parameters=parameters)
    assert all(torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights(first).values(), weights(other).values(), strict=True))


@every_method
def test_what_may_move_moves_and_stays_finite(model, tokenizer, method):
    before = weights(model)
    losses = run(model, tokenizer, method)
    assert len(losses) == COMMON["steps"]
    moved = set()
    for name, after in weights(model).items():
        assert torch.isfinite(after).all(), name
        assert after.shape == before[name].shape
        if not torch.equal(after, before[name]):
            moved.add(name)
    matrices = {name for name, weight in before.items() if weight.dim() == 2}
    blocks = method.trained(settings_for(method))
    if method.sure:
        assert moved and moved < {f"{layer}.weight" for layer in linear_layers(model)}
    else:
        assert moved >= set(in_blocks(matrices, blocks))
        assert blocks is None or moved <= set(in_blocks(before, blocks))
    assert not model.training


@every_method
def test_with_lora_linear_weights_move_and_nothing_else_does(model, tokenizer, method):
    before = weights(model)
    run(model, tokenizer, method, parameters="lora", storage="float32")
    after = weights(model)
    assert list(after) == list(before)  # adapters are gone, and every name is what it was
    linear = {f"{layer}.weight" for layer in linear_layers(model)}
    linear = set(in_blocks(linear, method.trained(settings_for(method))))
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved and (moved < linear if method.sure else moved == linear)
    assert all(torch.isfinite(value).all() for value in after.values())
    assert all(parameter.requires_grad for parameter in model.parameters()) and not model.training


@full_and_lora
@every_method
def test_storage_decides_what_values_parameters_take(tiny_llama, tokenizer, method, parameters):
    for storage, representable in [(name, name != "float32") for name in STORAGE]:
        model = load_model(tiny_llama)
        run(model, tokenizer, method, storage=storage, parameters=parameters)
        everything = torch.cat([parameter.flatten() for parameter in weights(model).values()])
        assert torch.equal(everything, everything.bfloat16().float()) == representable


@every_method
def test_one_forward_pass_gives_the_losses_of_separate_ones(model, tokenizer, method):
    """Forget and retain apart, one window at a time, the reference run anew: the same two losses."""
    forget, retain, other = texts_for(tokenizer, method)
    settings = settings_for(method)
    target = copy.deepcopy(model)
    reference = Reference(model, forget, retain, method, settings, other)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)  # so that model and reference differ
    pairs = [(0, 2), (1, 0)]
    together = losses_of_step(model, method, settings, reference, pairs)

    def one_by_one(any_model, chosen):
        tokens = [predict(any_model, [window], method.block(settings)) for window in chosen]
        return Tokens(
            torch.cat([part.logits for part in tokens]),
            torch.cat([part.targets for part in tokens]),
            torch.cat([part.sequence + row for row, part in enumerate(tokens)]),
            len(chosen),
            None if tokens[0].hidden is None else torch.cat([part.hidden for part in tokens]),
        )

    def side(chosen):
        theirs = one_by_one(target, chosen)
        return Side(one_by_one(model, chosen), sequence_log_probs(theirs), theirs.logits, theirs.hidden)

    forget_side = side([forget[0], forget[1]])
    forget_side.other = side([other[0], other[1]]) if method.compared else None
    apart = method.forget(forget_side, settings)
    assert together[0].item() == pytest.approx(apart.item(), rel=1e-4)
    if method.constrained:
        apart = method.retain(side([retain[2], retain[0]]), settings)
        assert together[1].item() == pytest.approx(apart.item(), rel=1e-4)
    else:
        assert together[1].item() == 0


@full_and_lora
@every_method
def test_a_resident_reference_gives_the_losses_of_the_cached_one(tiny_llama, tokenizer, method, parameters):
    cached, resident = (load_model(tiny_llama) for _ in range(2))
    # a small lr, since Adam makes much of the rounding by which the two batchings differ
    common = {"storage": "float32", "lr": 1e-4, "parameters": parameters}
    expected = run(cached, tokenizer, method, **common)
    losses = run(resident, tokenizer, method, reference="model", **common)
    for left, right in zip(expected, losses, strict=True):
        assert right == pytest.approx(left, rel=1e-2, abs=2e-5)


@every_method
def test_a_reference_on_disk_gives_the_same_bytes_and_leaves_nothing(
    tiny_llama, tokenizer, method, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    in_memory, on_disk = (load_model(tiny_llama) for _ in range(2))
    assert run(in_memory, tokenizer, method) == run(on_disk, tokenizer, method, reference="disk")
    assert all(torch.equal(a, b) for a, b in zip(weights(in_memory).values(), weights(on_disk).values(), strict=True))
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_the_disk_has_no_room_for_is_told_before_it_is_filled(small_disk, tiny_llama, tmp_path):
    """512 predicted tokens of 320 float32 logits in each of 8 windows: 5 MB, on a disk of 4."""
    disk, on_it = small_disk
    settings = settings_for(METHODS.get("ga_klr"), reference="disk")
    run_it = f"""
from relapse.models.loading import load_model
from relapse.runtime.errors import exit_on_error
from relapse.unlearning.methods import METHODS
from relapse.unlearning.reference import Reference
windows = [[2 + i % 300 for i in range(513)]] * 8
model = load_model({str(tiny_llama)!r})
exit_on_error(lambda: Reference(model, windows, windows, METHODS.get("ga_klr"), METHODS.settings({settings.plain()!r})))
"""
    done = subprocess.run(
        [*on_it, sys.executable, "-c", run_it],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(disk), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "reference: disk needs 0.0 GB for the logits of the retain windows" in done.stderr
    assert f"which {disk} has not: set TMPDIR" in done.stderr


def formulations(method):
    return ["paper", "released"] if "formulation" in method.settings.model_fields else ["paper"]


def masks(method):
    return ["row", "released"] if method.sure else ["paper"]


@every_method
def test_parts_of_a_batch_add_up_to_its_gradient(model, tokenizer, method):
    """Windows of unlike length, so that a mean over tokens differs from one over windows."""
    forget, retain, other = texts_for(tokenizer, method)
    for formulation, mask in itertools.product(formulations(method), masks(method)):
        settings = settings_for(method, formulation=formulation, mask=mask, modules="all", percentile=50)
        target = copy.deepcopy(model)
        reference = Reference(target, forget, retain, method, settings, other)
        changed = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in changed.parameters():
                parameter.mul_(1.01)
        pairs, parameters = (
            [(0, 2), (1, 0), (2, 1)],
            list(moving_parameters(changed, method, settings, reference, 0).values()),
        )
        common = (changed, method, settings, reference, pairs, parameters)
        losses = gradients_of_step(*common, micro_batch=3, alpha=1.0)
        whole = [parameter.grad.clone() for parameter in parameters]
        for micro_batch in (1, 2):
            assert gradients_of_step(*common, micro_batch, alpha=1.0) == pytest.approx(losses, rel=1e-4)
            for parameter, gradient in zip(parameters, whole, strict=True):
                torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max().item())


@full_and_lora
@every_method
def test_checkpointed_gradients_are_the_same(tiny_llama, tokenizer, method, parameters):
    kept, computed_again = (load_model(tiny_llama) for _ in range(2))
    common = {"parameters": parameters, "storage": "float32"}
    expected = run(kept, tokenizer, method, **common)
    assert run(computed_again, tokenizer, method, gradient_checkpointing=True, **common) == expected
    assert all(torch.equal(a, b) for a, b in zip(weights(kept).values(), weights(computed_again).values(), strict=True))
    assert not computed_again.is_gradient_checkpointing


@every_method
def test_a_batch_that_does_not_fit_goes_in_halves(tiny_llama, tokenizer, method, capsys):
    """Out of memory at the first step: what a run with micro_batch 1 gives, bit for bit."""
    halved, limited = (load_model(tiny_llama) for _ in range(2))
    expected = run(halved, tokenizer, method, micro_batch=1)
    forward, passes = limited.forward, []

    def with_little_memory(*inputs, **named):
        if limited.training:
            passes.append(1)
            if len(passes) == 1:
                raise torch.OutOfMemoryError("no memory for so many windows")
        return forward(*inputs, **named)

    limited.forward = with_little_memory
    assert run(limited, tokenizer, method) == expected
    assert "out of memory: 1 window at a time from here on" in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(weights(halved).values(), weights(limited).values(), strict=True))


def test_a_step_is_halved_where_its_resident_reference_does_not_fit(tiny_llama, tokenizer, monkeypatch):
    """A second model that takes one window at a time: micro_batch falls to 1, with the losses of micro_batch 1."""
    method = METHODS.get("npo_klr")
    expected, limited = (load_model(tiny_llama) for _ in range(2))
    losses = run(expected, tokenizer, method, reference="model", micro_batch=1)

    def small(self, windows, together=Reference._together):
        if len(windows) > 2:  # a forget window and a retain window
            raise torch.OutOfMemoryError("no memory for so many windows")
        return together(self, windows)

    monkeypatch.setattr(Reference, "_together", small)
    assert run(limited, tokenizer, method, reference="model") == losses


@full_and_lora
@every_method
def test_what_is_saved_loads_again(model, tokenizer, method, parameters, tmp_path):
    from transformers import AutoModelForCausalLM

    run(model, tokenizer, method, parameters=parameters)
    kept = weights(model)
    save(model, tokenizer, tmp_path, {"method": method.name})
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert all(torch.equal(kept[name], value) for name, value in weights(loaded).items())
    assert load_tokenizer(tmp_path)("Ada")["input_ids"] == tokenizer("Ada")["input_ids"]


@every_method
def test_a_gradient_that_is_not_finite_ends_the_run(model, tokenizer, method):
    """Clipping by an infinite norm would make every weight not a number, and the loss of the last step not tell."""
    calls = []

    def explode(gradient):
        calls.append(1)
        return gradient if len(calls) < 3 else torch.full_like(gradient, torch.inf)

    for layer in model.model.layers:
        layer.mlp.down_proj.weight.register_hook(explode)
    settings = {"mask": "released"} if method.sure else {}
    with pytest.raises(RelapseError, match=rf"{method.name}: the gradient's norm became (inf|nan) at step [2-4] of 4"):
        run(model, tokenizer, method, **settings)


@every_method
def test_a_non_finite_loss_names_method_and_step(model, tokenizer, method):
    with pytest.raises(RelapseError, match=rf"{method.name}: the loss became .* at step [2-4] of 4"):
        run(model, tokenizer, method, lr=1e38, storage="float32")


@pytest.mark.parametrize("pairing", ["rotating", "fixed"])
def test_a_run_pairs_its_windows_as_its_entry_says(model, tokenizer, pairing):
    """One forget window, and steps too small to change a loss: an epoch is a step."""
    forget, retain = each(tokenizer, FORGET[:1]), each(tokenizer, RETAIN)
    method, losses = METHODS.get("ga_gdr"), []
    with torch.no_grad():
        expected = [method.retain(Side(predict(model, [window])), settings_for(method)).item() for window in retain]
    settings = settings_for(method, retain_pairing=pairing, batch_size=1, steps=3, lr=1e-12, storage="float32")
    unlearn(
        model,
        forget,
        retain,
        method,
        settings,
        0,
        lambda step, forget_loss, retain_loss, clip: losses.append(retain_loss),
    )
    assert losses == pytest.approx(expected if pairing == "rotating" else [expected[0]] * 3, rel=1e-4)
    assert min(abs(expected[0] - other) for other in expected[1:]) > 1e-2
