"""Changing one entry reruns only what depends on it: the planned jobs after an edit of a finished study."""

import itertools

import pytest

METHODS = ("ga_gdr", "npo_klr", "npo_klr_sure")
MODELS = ("target", "retrain", *METHODS)
CALIBRATED = "gptq-int4"
GPTQ_MODELS = ("target", "retrain", "npo_klr")
QUANTIZERS = ("full", "rtn-int4", CALIBRATED)
FOUR_BIT = {"figure survival", "figure grid", "figure sure"}
SUMMARY = {"collect", "retained", "recovery", "figure retained_knowledge", "timings"} | FOUR_BIT
SUMMARY |= {f"table table{number}" for number in (1, 2, 3)}
SUMMARY |= {"figure calibration"}
RUNS = {"models_table", "costs"}  # what is read of unlearning runs


def evaluations(models=MODELS, quantizers=QUANTIZERS, seed=0):
    """Scoring, and gptq-int4's checkpoint where it is scored: that is for target, retrain and npo_klr alone."""
    pairs = [pair for pair in itertools.product(models, quantizers) if pair[1] != CALIBRATED or pair[0] in GPTQ_MODELS]
    rules = [("evaluate", pair) for pair in pairs] + [("quantize", pair) for pair in pairs if pair[1] == CALIBRATED]
    return {f"{rule} bios-{model}-{seed}-{quantizer}" for rule, (model, quantizer) in rules}


def unlearned(models=METHODS, seed=0):
    """Unlearning runs, and what is computed of their weights alone."""
    runs = {f"{rule} bios-{model}-{seed}" for rule in ("unlearn", "absorption") for model in models}
    runs |= {f"absorption bios-npo_klr-{seed}-{CALIBRATED}"} if "npo_klr" in models else set()
    return runs | {"absorption_table"}


def remade():
    """Scoring everything anew: deleted checkpoints are made again, and what else is computed of them is too."""
    again = evaluations() - {f"quantize bios-target-0-{CALIBRATED}"}
    return again | {f"absorption bios-npo_klr-0-{CALIBRATED}", "absorption_table"}


def change(path, value):
    """An edit that sets the entry at `path`."""

    def edit(study):
        *parents, key = path
        for parent in parents:
            study = study[parent]
        study[key] = value

    return edit


def absorptions():
    """What is computed of the weights of every method's model under round-to-nearest."""
    return {item for item in unlearned() if not item.startswith("unlearn") and not item.endswith(CALIBRATED)}


def remove(section, name):
    return lambda study: study[section].pop(name)


def add_twin(study):
    """A model in bfloat16 beside npo_klr, which is stored in float32 and changes in nothing."""
    study["methods"]["npo_twin"] = study["methods"]["npo_klr"] | {
        "method": "npo_klr",
        "storage": "bfloat16",
        "twin": "npo_klr",
    }


EDITS = {
    "a method's lr": (
        change(("methods", "npo_klr", "lr"), 2.0e-4),
        unlearned(["npo_klr"]) | evaluations(["npo_klr"]) | SUMMARY | RUNS,
    ),
    "a quantizer's groups": (
        change(("quantizers", "rtn-int4", "group_size"), 32),
        absorptions() | evaluations(quantizers=["rtn-int4"]) | SUMMARY,
    ),
    "a calibrated quantizer's samples": (
        change(("quantizers", CALIBRATED, "samples"), 3),
        evaluations(quantizers=[CALIBRATED])
        | {f"absorption bios-npo_klr-0-{CALIBRATED}", "absorption_table"}
        | SUMMARY,
    ),
    "one more method for a calibrated quantizer": (
        change(("quantizers", CALIBRATED, "methods"), ["npo_klr", "ga_gdr"]),
        {f"{rule} bios-ga_gdr-0-{CALIBRATED}" for rule in ("quantize", "evaluate", "absorption")}
        | {"absorption_table"}
        | SUMMARY,
    ),
    "a kept checkpoint": (
        change(("quantizers", CALIBRATED, "keep"), True),
        evaluations(["retrain", "npo_klr"], [CALIBRATED])
        | {f"absorption bios-npo_klr-0-{CALIBRATED}", "absorption_table"}
        | (SUMMARY - {"figure grid"}),
    ),
    "a metric's setting": (
        change(("metrics", "verbmem_forget", "max_new_tokens"), 9),
        remade() | SUMMARY,
    ),
    "one more metric, of lm-evaluation-harness": (
        change(("metrics", "mmlu"), {"limit": 2}),
        remade() | SUMMARY | {"fetch_tasks"},
    ),
    "privleak's k": (change(("metrics", "privleak", "k"), 20), remade() | SUMMARY),
    "one more seed": (
        change(("seeds",), [0, 1]),
        {f"train bios-{model}-1" for model in ("target", "retrain")}
        | unlearned(seed=1)
        | evaluations(seed=1)
        | SUMMARY
        | RUNS,
    ),
    "one more method": (
        change(("methods", "npo"), {"lr": 1.0e-4, "steps": 4, "batch_size": 2, "max_length": 128}),
        unlearned(["npo"]) | evaluations(["npo"]) | SUMMARY | RUNS,
    ),
    "the same method under another name": (
        change(("methods", "fast"), {"method": "ga", "lr": 1.0e-3, "steps": 4, "batch_size": 2, "max_length": 128}),
        unlearned(["fast"]) | evaluations(["fast"]) | SUMMARY | RUNS,
    ),
    "one more quantizer": (
        change(("quantizers", "bnb-nf4"), {"backend": "bitsandbytes", "format": "nf4"}),
        absorptions() | evaluations(quantizers=["bnb-nf4"]) | SUMMARY,
    ),
    "a grid": (
        change(("methods", "npo"), {"steps": 4, "batch_size": 2, "max_length": 128, "grid": {"lr": [1.0e-4, 2.0e-4]}}),
        unlearned(["npo-lr0.0001", "npo-lr0.0002"])
        | evaluations(["npo-lr0.0001", "npo-lr0.0002"])
        | (SUMMARY - {"figure retained_knowledge"})
        | {"figure lr"}
        | RUNS,
    ),
    "a twin": (add_twin, unlearned(["npo_twin"]) | evaluations(["npo_twin"]) | SUMMARY | RUNS),
    "a prediction": (
        change(("predictions",), [{"model": "ga_gdr", "quantizer": "rtn-int4", "expected": "recovered"}]),
        {"recovery", "figure survival", "figure calibration"},  # which show what recovery.csv says
    ),
    "a removed method": (remove("methods", "ga_gdr"), SUMMARY | {"absorption_table"} | RUNS),
    "a removed quantizer": (
        remove("quantizers", "rtn-int4"),
        SUMMARY - {"figure grid", "figure sure"} | {"absorption_table"},
    ),
    "target's training": (
        change(("models", "target", "steps"), 251),
        {"train bios-target-0"}
        | unlearned()
        | RUNS
        | evaluations([model for model in MODELS if model != "retrain"])
        | SUMMARY,
    ),
}


def test_a_finished_study_plans_nothing(finished):
    assert finished.planned() == set()


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_reruns_its_branch_alone(finished, edited, name):
    edit, expected = EDITS[name]
    assert finished.planned(edited(edit)) == expected


def test_reordered_keys_comments_and_spellings_rerun_nothing(finished, edited):
    study = edited(lambda study: study["methods"].update(npo_klr=study["methods"].pop("npo_klr")), sort_keys=True)
    text = study.read_text().replace("lr: 0.0001", "lr: 1.0e-4 # the same number")
    assert "1.0e-4 # the same" in text
    study.write_text("# a comment\n" + text)
    assert finished.planned(study) == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("relapse/unlearning/losses.py", unlearned() | evaluations(METHODS) | SUMMARY | RUNS),
        (
            "relapse/unlearning/methods/npo.py",
            unlearned(["npo_klr", "npo_klr_sure"]) | evaluations(["npo_klr", "npo_klr_sure"]) | SUMMARY | RUNS,
        ),
        ("relapse/quantization/rtn.py", absorptions() | evaluations(quantizers=["rtn-int4"]) | SUMMARY),
        ("relapse/quantization/bnb.py", set()),
        ("relapse/quantization/awq.py", set()),
        (
            "relapse/quantization/gptq.py",
            evaluations(quantizers=[CALIBRATED])
            | {f"absorption bios-npo_klr-0-{CALIBRATED}", "absorption_table"}
            | (SUMMARY - {"figure grid"}),
        ),
        ("relapse/metrics/privleak.py", remade() | (SUMMARY - {"figure grid"})),
        (
            "relapse/analysis/absorption.py",
            absorptions()
            | evaluations(["npo_klr"], [CALIBRATED])
            | {f"absorption bios-npo_klr-0-{CALIBRATED}"}
            | SUMMARY,
        ),
        ("relapse/report/retained_knowledge_figure.py", {"figure retained_knowledge"}),
        ("relapse/report/sure_figure.py", {"figure sure"}),
        ("scripts/table.py", {"table table1", "table table2", "table table3"}),
        ("relapse/report/calibration_figure.py", {"figure calibration"}),
    ],
)
def test_a_changed_source_reruns_what_executes_it(finished, source, expected):
    file = finished.repository / source
    original = file.read_bytes()
    file.write_bytes(original + b"\n# changed\n")
    try:
        assert finished.planned() == expected
    finally:
        file.write_bytes(original)


def test_a_source_that_is_changed_back_reruns_nothing(finished):
    """A job reruns when a file's content changes, not when its date does."""
    for source in ("relapse/unlearning/losses.py", "scripts/table.py"):
        file = finished.repository / source
        file.write_bytes(file.read_bytes())
    assert finished.planned() == set()


def test_a_study_file_replaces_the_default_one(finished, edited):
    """Nothing of config.yaml, which names eight methods and six quantizers, leaks into another study."""
    done = finished.dry_run("--forceall", "--cores", "1", study=edited(remove("methods", "ga_gdr")))
    assert "npo_klr" in done.stdout and "ga_gdr" not in done.stdout and "nf4" not in done.stdout
