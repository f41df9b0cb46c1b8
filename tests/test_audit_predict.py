"""`relapse audit --predict`: the predicted surviving share of a checkpoint, by matrix and in all."""

import csv
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from relapse.analysis.absorption import predicted
from relapse.audit.predict import as_text, predict
from relapse.cli import main as command
from relapse.quantization import BACKENDS

INT4 = {"backend": "rtn", "bits": 4, "group_size": 64}


@pytest.fixture(scope="module")
def sharded(tiny_llama, tmp_path_factory):
    """The tiny model in bfloat16, in several shards."""
    folder = tmp_path_factory.mktemp("sharded")
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="200KB")
    for file in tiny_llama.glob("tokenizer*"):
        (folder / file.name).write_bytes(file.read_bytes())
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def test_of_all_matrices_it_is_the_predictor_on_all_weights(sharded):
    (found,) = predict(sharded, 5e-5, {"int4": INT4})
    model = AutoModelForCausalLM.from_pretrained(sharded, dtype=torch.float32)
    rtn, settings = BACKENDS.get("rtn"), BACKENDS.settings(INT4)
    sums = torch.zeros(2, dtype=torch.float64)
    for name, shares in found.layers.items():
        weight = model.get_parameter(name).detach()
        above, below = predicted(weight, rtn.grid(weight, settings), 5e-5)
        assert shares[1] == pytest.approx(above / below)
        sums += torch.tensor([above, below])
    assert len(found.layers) == 14
    assert found.whole[1] == pytest.approx((sums[0] / sums[1]).item())


def test_a_step_that_moves_everything_survives_8_bit(sharded):
    # The edge of 1.0 is 512, far beyond every weight.
    (found,) = predict(sharded, 1.0, {"int8": {"backend": "rtn", "bits": 8, "group_size": "row"}})
    assert found.whole == pytest.approx((1, 1, 1), abs=0.05)


def test_a_format_that_does_not_fit_says_why(sharded):
    (found,) = predict(sharded, 5e-5, {"int4": INT4 | {"group_size": 96}})
    assert "group_size 96 does not divide" in found.unfit
    assert "group_size 96 does not divide" in as_text(sharded, 5e-5, [found])


def run(monkeypatch, *arguments) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["relapse", "audit", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        command.main()
        sys.exit(0)
    return ended.value.code


def test_the_command_prints_every_matrix_and_writes_a_table(sharded, tmp_path, monkeypatch, capsys):
    formats = ("--format", "rtn-int4-g64", "bnb-nf4")
    assert run(monkeypatch, "--target", sharded, "--predict", "5e-5", *formats, "--output", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "its edge is 0.01562" in printed
    assert printed.count(".self_attn.q_proj.weight") == 2
    rows = list(csv.DictReader((tmp_path / "predicted.csv").open()))
    assert {row["format"] for row in rows} == {"rtn-int4-g64", "bnb-nf4"} and len(rows) == 2 * 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --unlearned"),
        (("--predict", "1e-5", "--unlearned", "x"), "give either --unlearned"),
        (("--predict", "-1"), "a learning rate is above 0"),
    ],
)
def test_it_takes_either_models_or_a_rate(sharded, monkeypatch, arguments, message):
    assert message in str(run(monkeypatch, "--target", sharded, *arguments))
