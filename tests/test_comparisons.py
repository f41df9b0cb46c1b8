"""Twins and predictions in a study file: what they may name, what they become, and what they are refused with."""

import pytest
from small_study import edited, problems, study

from relapse.study import config

NPO = {"lr": 1e-5, "steps": 2, "max_length": 64, "alpha": 1.0}
FLOAT = {"method": "npo_klr", "storage": "float32"}


def twinned(**changes):
    """npo_klr in bfloat16 with the twin `float`; `changes` are those of the twin."""
    return edited(("methods", {"npo_klr": NPO | {"twin": "float"}, "float": NPO | FLOAT | changes}))


def test_a_twin_differs_in_storage_alone():
    methods = config.resolve(twinned()).plain()["methods"]
    assert methods["npo_klr"]["twin"] == "float" and "twin" not in methods["float"]
    (line,) = problems(twinned(lr=2e-5, alpha=2.0))
    assert line.startswith("methods.npo_klr.twin: float must have storage float32") and "look at: alpha, lr." in line
    (line,) = problems(twinned(storage="bfloat16_stochastic"))
    assert "look at: storage." in line


def test_a_twin_has_to_be_there_and_is_for_models_that_are_not_float32():
    (line,) = problems(edited(("methods/npo_klr/twin", "npo_krl")))
    assert line.startswith("methods.npo_klr.twin: no method is called 'npo_krl'. Did you mean 'npo_klr'?")
    (line,) = problems(edited(("methods/npo_klr", NPO | {"storage": "float32", "twin": "npo_klr"})))
    assert line.startswith("methods.npo_klr.twin: leave it out")
    (line,) = problems(edited(("methods/npo_klr/twin", 3)))
    assert line.startswith("methods.npo_klr.twin: is 3, must be text")


def test_a_grid_finds_its_points_twins():
    grid = {"lr": [1e-5, 5e-4], "storage": ["float32", "bfloat16"]}
    entry = {key: value for key, value in NPO.items() if key != "lr"} | {"grid": grid, "twin": "npo_klr"}
    resolved = config.resolve(edited(("methods", {"npo_klr": entry}))).plain()
    assert {name: entry.get("twin") for name, entry in resolved["methods"].items()} == {
        "npo_klr-lr1e-05-float32": None,
        "npo_klr-lr1e-05-bfloat16": "npo_klr-lr1e-05-float32",
        "npo_klr-lr0.0005-float32": None,
        "npo_klr-lr0.0005-bfloat16": "npo_klr-lr0.0005-float32",
    }
    assert config.resolve(resolved).plain() == resolved
    alone = entry | {"grid": {"lr": [1e-5, 5e-4]}}
    lines = problems(edited(("methods", {"npo_klr": alone})))
    assert lines == ["methods.npo_klr.twin: npo_klr has no model that is the same but for storage float32."]


def predicting(*predictions):
    return edited(("predictions", list(predictions)))


RIGHT = {"model": "npo_klr", "quantizer": "int4", "expected": "recovered"}


def test_predictions_are_about_knowledge_unless_they_say_otherwise():
    assert config.resolve(study()).predictions == []
    other = {"metric": "verbmem_forget", "expected": "not detected"}
    resolved = config.resolve(predicting(RIGHT, RIGHT | other)).plain()["predictions"]
    assert [item["metric"] for item in resolved] == ["knowledge", "verbmem_forget"]


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"model": "npo_krl"}, "predictions[0].model", "no model is called 'npo_krl'. Did you mean 'npo_klr'?"),
        ({"model": "target"}, "predictions[0].model", "Allowed: npo_klr."),
        ({"quantizer": "int5"}, "predictions[0].quantizer", "Did you mean 'int4'? Allowed: int4, nf4."),
        ({"quantizer": "full"}, "predictions[0].quantizer", "Allowed: int4, nf4."),
        ({"expected": "recoverd"}, "predictions[0].expected", "Did you mean 'recovered'?"),
        ({"metric": "privleak"}, "predictions[0].metric", "one of knowledge, verbmem_forget, knowmem_forget"),
        ({"modle": "x"}, "predictions[0].modle", "Did you mean 'model'?"),
        ({"model": 3}, "predictions[0].model", "is 3, must be text"),
    ],
)
def test_a_wrong_prediction_is_named(change, key, words):
    (line,) = problems(predicting(RIGHT | change))
    assert line.startswith(f"{key}: ") and words in line


def test_predictions_about_the_same_or_about_what_is_not_scored():
    (line,) = problems(predicting(RIGHT, RIGHT | {"expected": "equivalent"}))
    assert line == "predictions[1]: npo_klr int4 knowledge is predicted twice."
    (line,) = problems(edited(("predictions", [RIGHT]), ("quantizers/int4/methods", [])))
    assert line.startswith("predictions[0].model: npo_klr is not scored under int4: add it to quantizers.int4.methods")
    (line,) = problems(edited(("predictions", {"model": "npo_klr"})))
    assert line.startswith("predictions: is a mapping, must be a list")
    (line,) = problems(predicting("npo_klr"))
    assert line.startswith("predictions[0]: is 'npo_klr' (text), must be a mapping")


def test_a_grids_models_are_predicted_by_name():
    entry = {key: value for key, value in NPO.items() if key != "lr"} | {"grid": {"lr": [1e-5, 5e-4]}}
    given = edited(("methods", {"npo_klr": entry}), ("quantizers/int4/methods", ["npo_klr"]))
    given["predictions"] = [RIGHT | {"model": "npo_klr-lr0.0005"}]
    assert config.resolve(given).predictions[0].model == "npo_klr-lr0.0005"
    given["predictions"] = [RIGHT]
    (line,) = problems(given)
    assert "Allowed: npo_klr-lr1e-05, npo_klr-lr0.0005." in line
