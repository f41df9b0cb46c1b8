"""Attacks: estimators and perturbations by hand, the real ones on a tiny model, and what is refused before a run."""

import itertools
import json

import programs
import pytest
import torch
from entries import attack_settings, corpus_settings, metrics_settings, quantizer_settings
from small_study import edited, problems

from relapse.attacks import ATTACKS, Attacked
from relapse.attacks.noise import gaussian
from relapse.attacks.orthogonal import without_part_along
from relapse.attacks.relearn import overlap, texts_of
from relapse.attacks.sample import best_of
from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.evaluation.evaluate import evaluate
from relapse.evaluation.settings import Evaluation
from relapse.metrics import Evaluated
from relapse.models.loading import linear_layers, load_model, load_tokenizer
from relapse.models.saving import save
from relapse.quantization import BACKENDS
from relapse.runtime.batching import BatchSize
from relapse.runtime.errors import ConfigError

INT4 = quantizer_settings("rtn", bits=4, group_size=64)
METRICS = {"verbmem_forget": {"max_new_tokens": 4}, "knowmem_forget": {"max_new_tokens": 4}, "fluency": {}}


@pytest.fixture(scope="module")
def corpus():
    its = SOURCES.get("synthetic").read(corpus_settings(forget=2, retain1=2, retain2=2, holdout=2))
    for part in ("forget_icl", "retain_icl"):  # the tiny model's tokenizer knows few words
        its.knowmem[part] = its.knowmem[part][:1]
    return its


@pytest.fixture(scope="module")
def folder(corpus, tmp_path_factory):
    place = tmp_path_factory.mktemp("muse")
    write(corpus, place)
    return place


def attacked(model_dir, corpus, seed=0, **keys):
    run = Evaluated(load_model(model_dir), load_tokenizer(model_dir), corpus, BatchSize(8), seed)
    return Attacked(run, **keys)


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_the_best_of_k_by_hand():
    # Of the pairs of 1, 2, 3 the best are 2, 3, 3; of one answer the mean; of all three the largest.
    assert best_of([3.0, 1.0, 2.0], k=2) == pytest.approx(8 / 3)
    assert best_of([3.0, 1.0, 2.0], k=1) == pytest.approx(2.0)
    assert best_of([3.0, 1.0, 2.0], k=3) == pytest.approx(3.0)


def test_the_best_of_k_is_the_mean_over_all_subsets():
    scores = [0.1, 0.9, 0.4, 0.4, 0.0, 0.7]
    for k in range(1, 7):
        subsets = [max(subset) for subset in itertools.combinations(scores, k)]
        assert best_of(scores, k) == pytest.approx(sum(subsets) / len(subsets))


def test_noise_has_the_norm_of_the_error_and_follows_from_its_seed():
    error = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    drawn = gaussian(error, seed=1)
    assert drawn.norm().item() == pytest.approx(5.0)
    torch.testing.assert_close(gaussian(2 * error, seed=1), 2 * drawn)
    assert not torch.allclose(gaussian(error, seed=2), drawn)


def test_an_error_without_its_part_along_the_update():
    # (3, 4) is 3 along (2, 0), which leaves (0, 4).
    assert without_part_along(torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]])).tolist() == [[0.0, 4.0]]
    assert without_part_along(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)).tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_moves_every_linear_weight_by_the_quantizers_error(tiny_llama, corpus, seed):
    its = attacked(tiny_llama, corpus, seed, quantizer=INT4)
    before, layers = weights(its.run.model), linear_layers(its.run.model)
    settings = attack_settings("noise", quantizer="int4")
    ATTACKS.get("noise").apply(its, settings)
    after = weights(its.run.model)
    for layer in layers:
        weight = before[f"{layer}.weight"]
        error = BACKENDS.get("rtn").rounded(weight, INT4) - weight
        moved = after[f"{layer}.weight"] - weight
        assert moved.norm().item() == pytest.approx(error.norm().item(), rel=1e-3)
        assert abs((moved * error).sum() / error.norm() ** 2) < 0.1  # and not along it
    kept = before.keys() - {f"{layer}.weight" for layer in layers}
    assert all(torch.equal(before[name], after[name]) for name in kept)
    again = attacked(tiny_llama, corpus, seed, quantizer=INT4)
    ATTACKS.get("noise").apply(again, settings)
    assert all(torch.equal(value, after[name]) for name, value in weights(again.run.model).items())


def test_orthogonal_keeps_the_update_and_makes_of_the_target_the_quantized_target(tiny_llama, corpus, tmp_path):
    model = load_model(tiny_llama)
    target, layers = weights(model), linear_layers(model)
    with torch.no_grad():
        for layer in layers:
            weight = model.get_submodule(layer).weight
            weight += 1e-3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    save(model, load_tokenizer(tiny_llama), tmp_path / "unlearned", {}, torch.float32)
    for place, is_target in ((tiny_llama, True), (tmp_path / "unlearned", False)):
        its = attacked(place, corpus, target=tiny_llama, quantizer=INT4)
        before = weights(its.run.model)
        ATTACKS.get("orthogonal").apply(its, attack_settings("orthogonal", quantizer="int4"))
        for layer in layers:
            old, new = before[f"{layer}.weight"], its.run.model.get_submodule(layer).weight.detach()
            if is_target:
                torch.testing.assert_close(new, BACKENDS.get("rtn").rounded(old, INT4))
            else:
                update = old - target[f"{layer}.weight"]
                assert abs(((new - old) * update).sum().item()) < 1e-3 * ((new - old).norm() * update.norm()).item()


def test_sampling_scores_the_two_metrics_of_knowledge(tiny_llama, folder):
    settings = attack_settings("sample", k=2, samples=3)

    def run(seed):
        quantizer = quantizer_settings("full")
        evaluation = Evaluation(batch_size=4)
        return evaluate(
            tiny_llama, folder, quantizer, metrics_settings(**METRICS), evaluation, seed=seed, attack=settings
        )

    result, records = run(0)
    assert set(result["scores"]) == {"verbmem_forget", "knowmem_forget"}
    assert result["settings"]["attack"]["k"] == 2
    for record in records:
        assert len(record["scores"]) == 3
        assert record["score"] == pytest.approx(best_of(record["scores"], 2))
    assert run(0)[1] == records and run(1)[1] != records
    generated = {record["generated"] for record in records}
    assert len(generated) > 1


def test_relearning_trains_on_the_text_that_it_names(tiny_llama, corpus):
    before = weights(load_model(tiny_llama))
    found = []
    for keys in ({}, {"text": "retain"}, {"texts": 2}, {}):
        its = attacked(tiny_llama, corpus)
        ATTACKS.get("relearn").apply(its, attack_settings("relearn", steps=2, lr=1e-3, max_length=64, **keys))
        found.append(weights(its.run.model)["model.layers.0.mlp.down_proj.weight"])
        assert not its.run.model.training
    assert not any(torch.equal(weight, before["model.layers.0.mlp.down_proj.weight"]) for weight in found)
    assert torch.equal(found[0], found[3])
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_relearning_text_that_overlaps_the_questions_is_refused(corpus, tmp_path):
    assert overlap(corpus, corpus.raw["unasked"]) == ""
    asked = corpus.knowmem["forget"][0]["question"]
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(["A text of its own.", f"I was asked: {asked.upper()} And so on."]))
    settings = attack_settings("relearn", text="file", path=str(path), steps=1, lr=1e-3)
    with pytest.raises(
        ConfigError, match=r"text: file holds 'In which city was .*', which the metrics ask: .* Leave such texts out"
    ):
        ATTACKS.get("relearn").check(corpus, settings)
    (line,) = problems(
        edited(
            ("attacks", {"taught": settings.plain()}),
            ("corpora/bios", {"source": "synthetic", "forget": 2, "retain1": 2, "retain2": 2, "holdout": 2}),
        )
    )
    assert "attacks.taught: corpora.bios: text: file holds '" in line and "which the metrics ask" in line


def test_text_that_is_not_there_is_named(corpus):
    settings = attack_settings("relearn", steps=1, lr=1e-3, texts=1000)
    with pytest.raises(ConfigError, match=r"texts: is 1000, must be at most 16, the number of texts"):
        texts_of(corpus, settings)
    with pytest.raises(ConfigError, match=r"path: 'nowhere.txt' is no file"):
        texts_of(corpus, attack_settings("relearn", text="file", path="nowhere.txt", steps=1, lr=1e-3))


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        (
            "leak",
            {"attack": "sample", "k": 0, "samples": 4},
            ["attacks.leak.k", "is 0, must be a whole number (at least 1)"],
        ),
        ("leak", {"attack": "sample", "k": 5, "samples": 4}, ["attacks.leak", "k is 5, must be at most samples, 4"]),
        ("leak", {"attack": "sampel", "k": 1, "samples": 4}, ["attacks.leak.attack", "Did you mean 'sample'?"]),
        (
            "again",
            {"attack": "relearn", "steps": 0, "lr": 1e-3},
            ["attacks.again.steps", "is 0, must be a whole number (at least 1)"],
        ),
        ("again", {"attack": "relearn", "steps": 1, "lr": 1e-3, "max_length": 999}, ["must be at most 512"]),
        ("noisy", {"attack": "noise", "quantizer": "int5"}, ["attacks.noisy.quantizer", "Did you mean 'int4'?"]),
        ("noisy", {"attack": "noise", "quantizer": "int4", "under": "gptq"}, ["no quantizer is called 'gptq'"]),
        (
            "noisy",
            {"attack": "noise", "quantizer": "nf4", "under": "nf4"},
            ["attacks.noisy.under", "packs the weights"],
        ),
        ("int4", {"attack": "sample", "k": 1, "samples": 4}, ["attacks.int4", "is a quantizer's name too"]),
        ("leak", {"attack": "sample", "k": 1, "samples": 1, "methods": ["npo"]}, ["no method is called 'npo'"]),
    ],
)
def test_a_wrong_attack_is_named_before_the_run(name, entry, expected):
    (line,) = problems(edited(("attacks", {name: entry})))
    assert all(text in line for text in expected), line


def test_the_plain_command_attacks_a_model_and_asks_for_what_it_lacks(tiny_llama, folder, tmp_path):
    def command(**options):
        entry = {"attack": "orthogonal", "quantizer": "int4"}
        given = {"model": tiny_llama, "corpus": folder, "out": tmp_path / "scores.json", "attack": json.dumps(entry)}
        given |= {"metrics": json.dumps(METRICS)} | options
        arguments = [str(word) for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        return programs.run("evaluate", *arguments)

    int4 = json.dumps(INT4.plain())
    assert "the attack orthogonal needs --attacked-with" in command().stderr
    assert "the attack orthogonal needs --target" in command(attacked_with=int4).stderr
    done = command(attacked_with=int4, target=tiny_llama)
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert set(scores["scores"]) == set(METRICS) and scores["settings"]["attack"]["attack"] == "orthogonal"
    done = command(attack=json.dumps({"attack": "sample", "k": 0, "samples": 1}))
    assert done.returncode == 1 and "attacks.attack.k: is 0, must be a whole number (at least 1)" in done.stderr
