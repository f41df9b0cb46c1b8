"""Entries of a study as objects, for tests that need settings and say only what matters to them."""

from typing import Any

from relapse.attacks import ATTACKS, AttackSettings
from relapse.corpora import SOURCES
from relapse.corpora.settings import CorpusSettings
from relapse.metrics import METRICS
from relapse.quantization import BACKENDS
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.settings import Settings
from relapse.training.settings import TrainedModel
from relapse.unlearning.methods import METHODS
from relapse.unlearning.settings import MethodSettings

METHOD = {"lr": 1e-3, "steps": 3, "batch_size": 2, "alpha": 1.0}


def method_settings(name: str, **keys: Any) -> MethodSettings:
    """An entry of the method `name`: METHOD and then `keys`, without those that the method does not have."""
    known = METHODS.get(name).settings.model_fields
    return METHODS.settings({key: value for key, value in {"method": name, **METHOD, **keys}.items() if key in known})


def quantizer_settings(backend: str, **keys: Any) -> QuantizerSettings:
    """An entry of a quantizer with this backend."""
    return BACKENDS.settings({"backend": backend, **keys})


def metric_settings(name: str, **keys: Any) -> Settings:
    """An entry of a metric."""
    return METRICS.settings(keys, name)


def metrics_settings(**entries: dict[str, Any]) -> dict[str, Settings]:
    """The `metrics` of a study."""
    return {name: METRICS.settings(entry, name) for name, entry in entries.items()}


def corpus_settings(source: str = "synthetic", **keys: Any) -> CorpusSettings:
    """An entry of a corpus from this source."""
    return SOURCES.settings({"source": source, **keys})


def training_settings(**keys: Any) -> TrainedModel:
    """An entry of a model that is trained."""
    return TrainedModel.of({"source": "train", **keys})


def attack_settings(name: str, **keys: Any) -> AttackSettings:
    """An entry of an attack."""
    return ATTACKS.settings({"attack": name, **keys})
