"""What a study will take: which jobs are counted, with sizes worked out by hand, and what is refused."""

import math
import shutil
import subprocess
import sys

import pytest
import torch
import yaml

from relapse.models.loading import load_model
from relapse.models.random_base import train_tokenizer
from relapse.planning import memory, plan
from relapse.planning.plan import Job
from relapse.planning.remote import Remote
from relapse.quantization import BACKENDS
from relapse.runtime.registry import ROOT
from relapse.study import config, preflight
from relapse.study.settings import Models
from relapse.text.prompts import tokenizer_texts
from relapse.text.windows import concatenated_windows
from relapse.text.wording import renderer
from relapse.unlearning.elsewhere import settings_of

CUDA = torch.cuda.is_available()
MINI = yaml.safe_load((ROOT / "tests/workflow/mini.yaml").read_text())
# Hidden 64, feed-forward 128, two blocks, 512 tokens: embeddings and head, blocks, norms.
PARAMETERS = 2 * 512 * 64 + 2 * (4 * 64**2 + 3 * 64 * 128) + 5 * 64


@pytest.fixture(scope="module")
def jobs():
    return {job.name: job for job in plan.jobs(config.resolve(MINI), 1e9, math.inf, Remote())}


def test_every_kind_of_job_is_counted(jobs):
    assert list(jobs) == [
        *("train target", "train retrain", "unlearn ga_gdr", "unlearn npo_klr", "unlearn npo_klr_sure", "score"),
        *("quantize gptq-int4", "absorption"),
    ]
    # full and rtn-int4 on five models, gptq-int4 on target, retrain and npo_klr.
    assert jobs["score"].count == 5 + 5 + 3
    assert jobs["quantize gptq-int4"].count == 3 and jobs["absorption"].count == 3


def test_attacks_are_counted_with_the_steps_and_the_answers_that_they_take(jobs):
    again = {"attack": "relearn", "steps": 10, "batch_size": 2, "max_length": 64, "lr": 1e-3, "methods": ["ga_gdr"]}
    attacks = {"again": again, "leak": {"attack": "sample", "k": 1, "samples": 3}}
    found = {job.name: job for job in plan.jobs(config.resolve(MINI | {"attacks": attacks}), 1e9, math.inf, Remote())}
    assert (found["attack again"].count, found["attack leak"].count) == (3, 5)
    scoring = found["score"]
    assert found["attack leak"].seconds == pytest.approx(3 * scoring.seconds)
    assert found["attack leak"].memory == scoring.memory
    # Six operations for a parameter and a token, at half of 1e9 a second.
    training = plan.IMPORTS + 6 * PARAMETERS * 10 * 2 * 64 / 1e9 / plan.EFFICIENCY
    assert found["attack again"].seconds == pytest.approx(scoring.seconds + training)
    assert found["attack again"].memory >= scoring.memory


def test_disk_is_two_bytes_a_parameter_and_four_in_float32(jobs):
    assert jobs["unlearn ga_gdr"].disk == 2 * PARAMETERS
    assert jobs["unlearn npo_klr"].disk == 4 * PARAMETERS


def test_a_model_that_is_not_in_bfloat16_is_copied_for_every_seed(tiny_llama, tmp_path):
    """Its two bytes a parameter; one that is in bfloat16 is linked and takes none."""
    model = load_model(tiny_llama)
    model.save_pretrained(tmp_path / "wide")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_llama / name, tmp_path / "wide")
    models = {"target": {"source": "local", "path": str(tmp_path / "wide")}}
    models["retrain"] = {"source": "local", "path": str(tiny_llama)}
    # The ten examples of a prompt are longer than the tiny model's 512 positions, which preflight would say.
    study = config.resolve(MINI).model_copy(update={"models": Models.of(models), "seeds": [0, 1]})
    found = {job.name: job for job in plan.jobs(study, 1e9, math.inf, Remote())}
    assert "round retrain" not in found and found["round target"].count == 2
    assert found["round target"].disk == found["round target"].memory == 2 * model.num_parameters()


def test_memory_is_that_of_the_number_format_that_a_model_is_trained_in():
    """In a study whose other jobs compute in float32."""
    target = MINI["models"]["target"] | {"compute": "bfloat16"}
    study = config.resolve(MINI | {"models": MINI["models"] | {"target": target}})
    found = {job.name: job for job in plan.jobs(study, 1e9, math.inf, Remote())}
    shape = preflight.local_models(study)["base"].architecture
    for name, width in (("target", 2), ("retrain", 4)):
        assert found[f"train {name}"].memory == memory.training(shape, study.models.entries()[name], width, CUDA)
    assert found["train target"].memory < found["train retrain"].memory


def test_time_is_six_operations_a_parameter_and_token(jobs):
    """250 steps of 2 windows of 128 tokens, at 1e9 operations a second, half of which a step reaches."""
    assert jobs["train target"].seconds == pytest.approx(plan.IMPORTS + 6 * PARAMETERS * 250 * 2 * 128 / 1e9 / 0.5)
    assert jobs["unlearn npo_klr_sure"].at_most and not jobs["unlearn npo_klr"].at_most


def test_calibration_takes_the_text_that_there_is(jobs):
    """More windows than the text has cost no more; of the checkpoints the target's stays."""
    entry = MINI["quantizers"]["gptq-int4"] | {"samples": 10**9}
    greedy = config.resolve(MINI | {"quantizers": MINI["quantizers"] | {"gptq-int4": entry}})
    found = {job.name: job for job in plan.jobs(greedy, 1e9, math.inf, Remote())}["quantize gptq-int4"]
    assert found.memory < 2 * jobs["quantize gptq-int4"].memory
    linear = 2 * (4 * 64**2 + 3 * 64 * 128)
    assert 3 * jobs["quantize gptq-int4"].disk == pytest.approx(linear / 2 + 4 * (PARAMETERS - linear))


def test_more_seeds_and_a_checkpointed_run_take_more():
    more = MINI | {"seeds": [0, 1, 2]}
    more["methods"] = MINI["methods"] | {"ga_gdr": MINI["methods"]["ga_gdr"] | {"gradient_checkpointing": True}}
    found = {job.name: job for job in plan.jobs(config.resolve(more), 1e9, math.inf, Remote())}
    assert found["unlearn ga_gdr"].count == 3
    plain = {job.name: job for job in plan.jobs(config.resolve(MINI), 1e9, math.inf, Remote())}["unlearn ga_gdr"]
    assert found["unlearn ga_gdr"].seconds - plan.IMPORTS == pytest.approx(4 / 3 * (plain.seconds - plan.IMPORTS))


def test_concatenated_windows_are_counted_as_they_are_cut():
    """2 epochs of the windows that training cuts, all of 128 tokens."""
    entry = {key: value for key, value in MINI["methods"]["ga_gdr"].items() if key != "steps"}
    entry |= {"epochs": 2, "batch_size": 1, "max_length": 128, "windows": "concatenated"}
    study = config.resolve(MINI | {"methods": MINI["methods"] | {"ga_gdr": entry}})
    corpus = preflight.local_corpora(study)["bios"]
    tokenizer = train_tokenizer(tokenizer_texts(corpus), study.models.base.architecture.vocab_size)
    windows = concatenated_windows(tokenizer, corpus.raw["forget"], 128)
    job = {job.name: job for job in plan.jobs(study, 1e9, math.inf, Remote())}["unlearn ga_gdr"]
    seen = 2 * len(windows) * 2 * 128  # and as many retain windows
    assert job.seconds == pytest.approx(plan.IMPORTS + 6 * PARAMETERS * seen / 1e9 / 0.5)


def test_utility_is_counted_by_its_prompts():
    """Eight facts with four choices each; fluency's beginnings are four tokens and a BOS."""
    corpora = {"bios": MINI["corpora"]["bios"] | {"world": 8}}
    metrics = MINI["metrics"] | {"world_facts": {}, "fluency": {"prompt_tokens": 4, "max_new_tokens": 6}}
    study = config.resolve(MINI | {"corpora": corpora, "metrics": metrics})
    corpus = preflight.local_corpora(study)["bios"]
    tokenizer = preflight.local_models(study)["base"].tokenizer(corpus)
    asked = plan.Texts(corpus, tokenizer, renderer(None)).prompts(study.metrics)
    assert asked["fluency"] == (len(corpus.privleak["retain"]), 5, 6)
    texts = [f"Question: {fact['question']}\nAnswer: {choice}" for fact in corpus.world for choice in fact["choices"]]
    assert asked["world_facts"] == (32, max(len(tokenizer.encode(text).ids) for text in texts), 0)


def test_a_prompt_that_ends_in_a_space_is_a_token_longer():
    metrics = MINI["metrics"] | {"knowmem_retain": {"max_new_tokens": 8, "prompt_ending": "space"}}
    study = config.resolve(MINI | {"metrics": metrics})
    corpus = preflight.local_corpora(study)["bios"]
    tokenizer = preflight.local_models(study)["base"].tokenizer(corpus)
    _, longest, _ = plan.Texts(corpus, tokenizer, renderer(None)).prompts(study.metrics)["knowmem_retain"]
    _, plain, _ = plan.Texts(corpus, tokenizer, renderer(None)).prompts(config.resolve(MINI).metrics)["knowmem_retain"]
    assert longest == plain + 1


def test_what_does_not_fit_is_named_with_what_would():
    job = Job("unlearn ga", 2, 80e9, 1e9, 60.0, "Set micro_batch: 1.")
    assert plan.too_large([job], 50e9, free_disk=1e12) == [
        "unlearn ga needs about 80.0 GB of memory, and there are 50.0 GB. Set micro_batch: 1."
    ]
    assert "2.0 GB of disk, and there are 1.0 GB free" in plan.too_large([job], 50e9, free_disk=1e9)[1]
    assert plan.too_large([Job("score", 1, None, None, None)], 50e9, free_disk=1e9) == []


def test_the_plan_is_printed_before_a_run_and_a_study_that_does_not_fit_is_refused(tmp_path):
    def check(study):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(study))
        command = [sys.executable, "-m", "scripts.check_study", str(path)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    done = check(MINI)
    assert done.returncode == 0 and "unlearn npo_klr_sure" in done.stdout and "of work" in done.stdout
    architecture = MINI["models"]["base"]["architecture"] | {"hidden_size": 65536, "intermediate_size": 262144}
    large = MINI | {"models": MINI["models"] | {"base": MINI["models"]["base"] | {"architecture": architecture}}}
    refused = check(large)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "the study does not fit this machine" in refused.stderr and "unlearn ga_gdr needs about" in refused.stderr


def test_an_unlearned_model_from_elsewhere_takes_what_its_rounding_or_merging_takes(tiny_llama, tmp_path):
    """None in bfloat16 or as stored; a copy's two bytes a parameter; an adapter's target in float32 and its file."""
    model = load_model(tiny_llama)
    model.save_pretrained(tmp_path / "wide")
    shutil.copy(tiny_llama / "tokenizer.json", tmp_path / "wide")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text('{"peft_type": "LORA"}')
    given = {"source": "local"}
    methods = {name: given | {"path": str(tmp_path / name)} for name in ("wide", "adapter")}
    methods |= {"kept": methods["wide"] | {"as_stored": True}, "narrow": given | {"path": str(tiny_llama)}}
    entries = {name: settings_of(entry) for name, entry in methods.items()}
    full = {"full": BACKENDS.settings({"backend": "full"})}
    study = config.resolve(MINI).model_copy(update={"methods": entries, "quantizers": full})
    found = {job.name: job for job in plan.jobs(study, 1e9, math.inf, Remote())}
    assert {name for name in found if name.startswith("link")} == {"link wide", "link adapter"}
    assert found["link wide"].disk == 2 * model.num_parameters()
    assert (found["link adapter"].memory, found["link adapter"].disk) == (6 * PARAMETERS, 2 * PARAMETERS)
