"""The studies that come with the project: valid, and what they promise of themselves."""

import pytest
import yaml

from relapse.metrics import PAPER_METRICS
from relapse.runtime.errors import ConfigError
from relapse.runtime.registry import ROOT
from relapse.study import config, preflight


def test_the_default_study_is_valid_and_runs_everything_the_paper_has():
    default = config.load(ROOT / "config.yaml").plain()
    assert {entry["method"] for entry in default["methods"].values()} >= {
        "ga",
        "ga_gdr",
        "ga_klr",
        "npo",
        "npo_gdr",
        "npo_klr",
    }
    sure = {entry["lr"] for entry in default["methods"].values() if entry["method"].endswith("_sure")}
    (plain,) = {entry["lr"] for entry in default["methods"].values() if not entry["method"].endswith("_sure")}
    assert [*sure] == pytest.approx([10 * plain])  # about ten times larger, as the paper has it
    assert set(default["metrics"]) >= set(PAPER_METRICS)


def test_the_study_of_five_seeds_is_the_default_study_but_for_the_seeds():
    default, seeds = (config.load(ROOT / name).plain() for name in ("config.yaml", "configs/seeds.yaml"))
    assert (seeds.pop("study"), seeds.pop("seeds")) == ("seeds", [10, 11, 12, 13, 14])
    del default["study"], default["seeds"]
    assert seeds == default


def test_alpha_was_tuned_on_seeds_that_no_result_uses_and_in_full_precision():
    tuning, default = config.load(ROOT / "configs/tuning.yaml").plain(), config.load(ROOT / "config.yaml").plain()
    results = config.load(ROOT / "configs/seeds.yaml").plain()["seeds"]
    assert not set(tuning["seeds"]) & set(results) and list(tuning["quantizers"]) == ["full"]
    tried = {(entry["method"], entry["alpha"]) for entry in tuning["methods"].values()}
    for entry in default["methods"].values():
        if "alpha" in entry and entry["storage"] == "bfloat16":
            assert (entry["method"], entry["alpha"]) in tried
    for part in ("corpora", "models", "evaluation"):
        assert tuning[part] == default[part]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_further_studies_have_valid_keys(path):
    """Their models and corpora are the user's own files, which need not be here."""
    try:
        config.load(path)
    except ConfigError as error:
        lines = str(error).splitlines()[1:]
        assert lines and all("no such" in line for line in lines), error


def test_the_study_for_a_gpu_trains_in_float32_and_unlearns_in_bfloat16():
    study = config.load(ROOT / "configs/gpu.yaml")
    assert study.compute == "bfloat16"
    assert {preflight.trained_in(study, name) for name in ("target", "retrain")} == {"float32"}
    default = config.load(ROOT / "config.yaml")
    assert preflight.trained_in(default, "target") == "float32"
    assert "compute" not in default.plain()["models"]["target"]  # a key that was not there would train it anew


@pytest.mark.parametrize("corpus", ["news", "books"])
def test_the_studies_of_muse_unlearn_as_the_released_code_does(corpus):
    methods = config.load(ROOT / f"configs/muse-{corpus}.yaml").plain()["methods"]
    released = [(entry["windows"], entry["retain_pairing"]) for entry in methods.values()]
    assert set(released) == {("concatenated", "fixed")}
    default = config.load(ROOT / "config.yaml").plain()["methods"].values()
    assert {(entry["windows"], entry["retain_pairing"]) for entry in default} == {("packed", "rotating")}


def test_both_muse_studies_measure_alike_and_as_the_released_code_does():
    news, books = (yaml.safe_load((ROOT / f"configs/muse-{name}.yaml").read_text()) for name in ("news", "books"))
    for one, auc in ((news, 0.4772), (books, 0.5393)):
        assert one["metrics"].pop("privleak") == {"k": 40, "reference": auc}
    assert news["metrics"] == books["metrics"] and news["quantizers"] == books["quantizers"]
    metrics = news["metrics"]
    assert metrics["mmlu"]["num_fewshot"] == 5 and metrics.keys() >= {"truthfulqa", "triviaqa", "fluency"}
    assert metrics["knowmem_forget"]["prompt_ending"] == metrics["knowmem_retain"]["prompt_ending"] == "space"
    assert metrics["verbmem_forget_sampled"]["top_k"] == 50
    assert news["quantizers"]["bnb-fp4"]["layer_compute"] == "float32"
