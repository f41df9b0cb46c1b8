"""What is wrong with a study that only its files, or several of its keys together, can tell; before anything runs.

This module checks that keys fit each other, the models' shapes and the texts. It reads no weights, needs neither
transformers nor a GPU, and reads only the cache of the Hub.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from relapse.corpora import SOURCES
from relapse.corpora.corpus import Corpus
from relapse.corpora.location import Located
from relapse.corpora.settings import CorpusSettings
from relapse.metrics.privleak import PrivLeakSettings
from relapse.models.files import Model, describe
from relapse.models.tokenizer import must_have_rows
from relapse.quantization import BACKENDS
from relapse.quantization.calibration import CalibratedSettings, texts
from relapse.runtime.errors import ConfigError, RelapseError
from relapse.runtime.settings import Settings
from relapse.study import attack_needs, made_elsewhere, method_needs, prompt_needs
from relapse.study.messages import Key, Problem
from relapse.study.prompt_needs import started_from
from relapse.study.settings import StudySettings
from relapse.study.sound import Sound, partial
from relapse.text.prompts import asked_texts
from relapse.training.settings import TrainedModel


def check(config: dict, bad: Sequence[Key] = ()) -> list[Problem]:
    """The problems of a configuration with its defaults filled in; parts under a key in `bad` are left out."""
    sound = Sound(bad)
    study, problems = partial(config, sound)
    problems += _between_keys(study, sound)
    models: dict[str, Model] = {}
    for name, entry in study.models.entries().items():
        if sound("models", name):
            try:
                models[name] = describe(entry)
            except ConfigError as error:
                problems.append((("models", name), str(error)))
    corpora: dict[str, Corpus] = {}
    for name, corpus in study.corpora.items():
        if sound("corpora", name) and not on_hub(corpus):
            try:
                corpora[name] = SOURCES.get(corpus.source).read(corpus)
            except (RelapseError, OSError, ValueError) as error:
                problems.append((("corpora", name), str(error)))
    problems += _group_sizes(study, sound, models)
    problems += _window_lengths(study, sound, models)
    problems += prompt_needs.problems(study, sound, models, corpora)
    problems += _rows(models, corpora)
    problems += _world(study, sound, corpora)
    problems += _task_folders(study, sound)
    problems += _needs(study, sound, models, corpora)
    problems += _calibration(study, sound, models, corpora)
    return problems


def local_models(study: StudySettings) -> dict[str, Model]:
    """What is known of every model of a study."""
    return {name: describe(entry) for name, entry in study.models.entries().items()}


def local_corpora(study: StudySettings) -> dict[str, Corpus | None]:
    """Every corpus of a study; None for one that the Hub would have to be asked for."""
    return {
        name: None if on_hub(entry) else SOURCES.get(entry.source).read(entry) for name, entry in study.corpora.items()
    }


def _between_keys(study: StudySettings, sound: Sound) -> Iterator[Problem]:
    full = study.quantizers.get("full")
    if full and sound("quantizers", "full"):
        if full.backend != "full":
            yield (
                ("quantizers", "full", "backend"),
                f"is {full.backend!r}, must be full: the others are compared with it.",
            )
        if full.methods is not None:
            yield ("quantizers", "full", "methods"), "leave it out: every model is scored in full precision."
    models = study.models.entries()
    trained = [
        name for name in ("target", "retrain") if sound("models", name) and isinstance(models.get(name), TrainedModel)
    ]
    if trained and "base" not in models and sound("models", "base"):
        names = " and ".join(trained)
        yield ("models", "base"), f"missing; {names} (source: train) must be trained from something."
    if study.compute == "bfloat16":
        for name, entry in study.runs().items():
            for key in ("storage", "state_storage"):
                if sound("methods", name) and entry.parameters == "full" and getattr(entry, key) != "bfloat16":
                    yield (
                        ("methods", name, key),
                        f"is {getattr(entry, key)}, must be bfloat16 with compute: bfloat16, which holds parameters "
                        "and optimiser states in bfloat16; use compute: float32, or set it.",
                    )
    privleak = study.metrics.get("privleak") if sound("metrics", "privleak", "reference") else None
    if (
        isinstance(privleak, PrivLeakSettings)
        and privleak.reference == "retrain"
        and sound("models")
        and "retrain" not in models
    ):
        yield (
            ("metrics", "privleak", "reference"),
            "is retrain, but there is no models.retrain: add it, or give the AUC of a retrain model as a number.",
        )


# --- corpora ----------------------------------------------------------------------------------------------------------


def on_hub(entry: CorpusSettings) -> bool:
    """Whether reading the corpus of this entry would need the Hub."""
    return isinstance(entry, Located) and bool(entry.id and entry.revision and not entry.path)


# --- keys that must fit the models ------------------------------------------------------------------------------------


def trained_in(study: StudySettings, name: str) -> str:
    """The number format that target or retrain is trained in: its own, or the study's."""
    return getattr(study.models.entries()[name], "compute", None) or study.compute


def _group_sizes(study: StudySettings, sound: Sound, models: dict[str, Model]) -> Iterator[Problem]:
    for name, entry in study.quantizers.items():
        if not sound("quantizers", name):
            continue
        reported = set()
        for origin, model in models.items():
            if not model.linear:
                continue
            try:
                BACKENDS.get(entry.backend).check(model.linear, entry)
            except ConfigError as error:
                if str(error) not in reported:
                    reported.add(str(error))
                    yield ("quantizers", name), f"does not fit models.{origin}: {error}"


def _window_lengths(study: StudySettings, sound: Sound, models: dict[str, Model]) -> Iterator[Problem]:
    entries: list[tuple[tuple[str, str], Settings, str]]
    entries = [(("models", name), entry, name) for name, entry in study.models.entries().items() if name != "base"]
    entries += [(("methods", name), entry, "target") for name, entry in study.methods.items()]
    for key, entry, model in entries:
        origin = started_from(study, model)
        context = models[origin].context if origin in models else None
        length = getattr(entry, "max_length", None) if sound(*key, "max_length") else None
        if length is not None and context is not None and length > context:
            yield (
                (*key, "max_length"),
                f"is {length}, must be at most {context}, the context of models.{origin} (max_position_embeddings).",
            )


def _needs(study: StudySettings, sound: Sound, models: dict[str, Model], corpora: dict[str, Corpus]) -> list[Problem]:
    """Methods and attacks that the model, a corpus or the quantizers cannot have."""
    unlearned = {name: entry for name, entry in study.methods.items() if sound("methods", name)}
    runs = {name: entry for name, entry in study.runs().items() if name in unlearned}
    attacks = {name: entry for name, entry in study.attacks.items() if sound("attacks", name)}
    hub = {name: SOURCES.get(entry.source) for name, entry in study.corpora.items() if sound("corpora", name)}
    hub = {name: source for name, source in hub.items() if name not in corpora and on_hub(study.corpora[name])}
    origin = started_from(study, "target")
    model = models.get(origin, Model())
    return [
        *method_needs.problems(runs, study.quantizers, corpora, hub, origin, model),
        *made_elsewhere.problems(unlearned, study.models.entries().get(origin) if sound("models", origin) else None),
        *attack_needs.problems(attacks, study.quantizers, corpora, model.context),
    ]


def _calibration(
    study: StudySettings, sound: Sound, models: dict[str, Model], corpora: dict[str, Corpus]
) -> Iterator[Problem]:
    """Calibrated quantizers whose text is missing, or whose windows overrun a model's context."""
    origin = started_from(study, "target")
    context = models[origin].context if origin in models else None
    for name, entry in study.quantizers.items():
        if not sound("quantizers", name) or not isinstance(entry, CalibratedSettings):
            continue
        if context is not None and entry.sample_length > context:
            yield (
                ("quantizers", name, "sample_length"),
                f"is {entry.sample_length}, must be at most {context}, the context of models.{origin} "
                "(max_position_embeddings).",
            )
        for corpus_name, corpus in corpora.items():
            try:
                texts(corpus, entry)
            except ConfigError as error:
                where = "" if entry.calibration == "file" else f"corpora.{corpus_name}: "
                yield ("quantizers", name), f"{where}{error}"


def _rows(models: dict[str, Model], corpora: dict[str, Corpus]) -> Iterator[Problem]:
    """Texts with a token that a model's embedding has no row for, where its tokenizer has more tokens than that."""
    for name, model in models.items():
        if not model.rows or not model.tokenizer:
            continue
        for corpus_name, corpus in corpora.items():
            known = model.tokenizer(corpus)
            if max(known.get_vocab(with_added_tokens=True).values(), default=-1) < model.rows:
                continue
            whole = [text for texts in corpus.raw.values() for text in texts] + asked_texts(corpus)
            where = f"corpora.{corpus_name}"
            try:
                must_have_rows(lambda text, by=known: by.encode(text).ids, known.id_to_token, model.rows, whole, where)
            except RelapseError as error:
                yield ("models", name), str(error)


def _world(study: StudySettings, sound: Sound, corpora: dict[str, Corpus]) -> Iterator[Problem]:
    """Corpora that have no multiple-choice questions for world_facts to ask; what is on the Hub has none."""
    if "world_facts" not in study.metrics or not sound("metrics", "world_facts"):
        return
    for name, entry in study.corpora.items():
        if sound("corpora", name) and (on_hub(entry) or (name in corpora and not corpora[name].world)):
            how = "set its `world`, to 24 for example" if entry.source == "synthetic" else "add the file to its folder"
            yield (
                ("metrics", "world_facts"),
                f"corpora.{name} has no utility/world.json: {how}, or leave the metric out.",
            )


def _task_folders(study: StudySettings, sound: Sound) -> Iterator[Problem]:
    """Folders with tasks for lm-evaluation-harness that are not there."""
    for name, entry in study.metrics.items():
        folder = getattr(entry, "include_path", "") if sound("metrics", name) else ""
        if folder and not Path(folder).is_dir():
            yield ("metrics", name, "include_path"), f"no such folder: {folder!r}."
