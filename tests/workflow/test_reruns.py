"""Changing one entry reruns only what depends on it: the planned jobs after an edit of a finished study."""

import itertools

import pytest

pytestmark = pytest.mark.xdist_group("mini")

MODELS = ("target", "retrain", "ga_gdr", "npo_klr")
QUANTIZERS = ("full", "rtn-int8")
METHODS = ("ga_gdr", "npo_klr")
SUMMARY = {"collect", "retained", "table1", "figure_retained", "timings"}


def evaluations(models=MODELS, quantizers=QUANTIZERS, seed=0):
    return {f"evaluate bios-{model}-{seed}-{quantizer}" for model, quantizer in itertools.product(models, quantizers)}


def change(path, value):
    """An edit that sets the entry at `path`."""

    def edit(study):
        *parents, key = path
        for parent in parents:
            study = study[parent]
        study[key] = value

    return edit


def remove(section, name):
    return lambda study: study[section].pop(name)


EDITS = {
    "a method's lr": (
        change(("methods", "npo_klr", "lr"), 2.0e-4),
        {"unlearn bios-npo_klr-0"} | evaluations(["npo_klr"]) | SUMMARY,
    ),
    "a quantizer's bits": (
        change(("quantizers", "rtn-int8", "bits"), 6),
        evaluations(quantizers=["rtn-int8"]) | SUMMARY,
    ),
    "a metric's setting": (change(("metrics", "verbmem_forget", "max_new_tokens"), 9), evaluations() | SUMMARY),
    "privleak's k": (change(("metrics", "privleak", "k"), 20), evaluations() | SUMMARY),
    "one more seed": (
        change(("seeds",), [0, 1]),
        {f"train bios-{model}-1" for model in ("target", "retrain")}
        | {f"unlearn bios-{method}-1" for method in METHODS}
        | evaluations(seed=1)
        | SUMMARY,
    ),
    "one more method": (
        change(("methods", "npo"), {"lr": 1.0e-4, "steps": 4, "batch_size": 2, "max_length": 128}),
        {"unlearn bios-npo-0"} | evaluations(["npo"]) | SUMMARY,
    ),
    "the same method under another name": (
        change(("methods", "fast"), {"method": "ga", "lr": 1.0e-3, "steps": 4, "batch_size": 2, "max_length": 128}),
        {"unlearn bios-fast-0"} | evaluations(["fast"]) | SUMMARY,
    ),
    "one more quantizer": (
        change(("quantizers", "bnb-nf4"), {"backend": "bitsandbytes", "format": "nf4"}),
        evaluations(quantizers=["bnb-nf4"]) | SUMMARY,
    ),
    "a removed method": (remove("methods", "ga_gdr"), SUMMARY),
    "a removed quantizer": (remove("quantizers", "rtn-int8"), SUMMARY),
    "target's training": (
        change(("models", "target", "steps"), 251),
        {"train bios-target-0"}
        | {f"unlearn bios-{method}-0" for method in METHODS}
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
        ("relapse/unlearning/losses.py", {f"unlearn bios-{m}-0" for m in METHODS} | evaluations(METHODS) | SUMMARY),
        ("relapse/unlearning/methods/npo.py", {"unlearn bios-npo_klr-0"} | evaluations(["npo_klr"]) | SUMMARY),
        ("relapse/quantization/rtn.py", evaluations(quantizers=["rtn-int8"]) | SUMMARY),
        ("relapse/quantization/bnb.py", set()),
        ("relapse/metrics/privleak.py", evaluations() | SUMMARY),
        ("relapse/metrics/generation.py", evaluations() | SUMMARY),
        ("relapse/paper/figures.py", {"figure_retained"}),
        ("scripts/table1.py", {"table1"}),
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
    assert finished.planned() == set()


def test_a_study_file_replaces_the_default_one(finished, edited):
    """Nothing of config.yaml, which names six methods and six quantizers, leaks into another study."""
    done = finished.snakemake("--dry-run", "--forceall", "--cores", "1", study=edited(remove("methods", "ga_gdr")))
    assert "npo_klr" in done.stdout and "ga_gdr" not in done.stdout and "nf4" not in done.stdout
