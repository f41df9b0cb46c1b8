"""Every registered attack through one suite: what holds for an attack, whatever it does."""

import pytest
import torch
from entries import attack_settings, corpus_settings, metrics_settings, quantizer_settings

from relapse.attacks import ATTACKS, Attack, Attacked
from relapse.corpora import SOURCES
from relapse.metrics import Evaluated
from relapse.models.loading import load_model, load_tokenizer
from relapse.planning import fit
from relapse.runtime.batching import BatchSize

INT4 = quantizer_settings("rtn", bits=4, group_size=64)
NAMES = ("verbmem_forget", "knowmem_forget", "knowmem_retain")
ENTRIES = [(name, keys) for name in ATTACKS.names() for keys in ATTACKS.get(name).examples]

every_attack = pytest.mark.parametrize(("name", "keys"), ENTRIES, ids=[f"{name}-{keys}" for name, keys in ENTRIES])


@pytest.fixture(scope="module")
def corpus():
    its = SOURCES.get("synthetic").read(corpus_settings(forget=2, retain1=2, retain2=2, holdout=2))
    for part in ("forget_icl", "retain_icl"):  # the tiny model's tokenizer knows few words
        its.knowmem[part] = its.knowmem[part][:1]
    return its


def settings_of(name, keys):
    return attack_settings(name, **({"quantizer": "int4"} if ATTACKS.get(name).needs_quantizer else {}) | keys)


def run(model_dir, corpus, name, keys, seed=0):
    """The attacked model, and its records of every metric."""
    attack, settings = ATTACKS.get(name), settings_of(name, keys)
    its = Evaluated(load_model(model_dir), load_tokenizer(model_dir), corpus, BatchSize(8), seed)
    attacked = Attacked(its, model_dir, INT4)
    attack.apply(attacked, settings)
    metrics = metrics_settings(**{metric: {"max_new_tokens": 3} for metric in NAMES})
    found = {
        metric: attack.records(metric, attacked, entry, settings) for metric, entry in attack.metrics(metrics).items()
    }
    return its.model, found


@every_attack
def test_same_seed_same_records_and_they_are_those_of_the_questions(tiny_llama, corpus, name, keys):
    model, found = run(tiny_llama, corpus, name, keys)
    assert run(tiny_llama, corpus, name, keys)[1] == found
    assert {"verbmem_forget", "knowmem_forget"} <= set(found)
    assert len(found["knowmem_forget"]) == len(corpus.knowmem["forget"])
    for records in found.values():
        assert all(0 <= record["score"] <= 100 and record["id"] and record["group"] for record in records)
    assert not model.training and all(torch.isfinite(value).all() for value in model.parameters())


@every_attack
def test_what_is_fit_for_the_corpus_is_not_refused_and_what_it_takes_is_known(tiny_llama, corpus, name, keys):
    attack, settings = ATTACKS.get(name), settings_of(name, keys)
    assert isinstance(attack, Attack) and attack.check(corpus, settings) is None
    needed, work, times = attack.takes(fit.architecture(tiny_llama), settings, 4, False)
    assert needed >= 0 and work >= 0 and times >= 1
