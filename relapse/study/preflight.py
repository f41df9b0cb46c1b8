"""What is wrong with a study that only its files, or several of its keys together, can tell; before anything runs.

Knows which keys must fit each other, the models' shapes and the texts; how a model directory is read is
files.py's. No weight is read and neither transformers nor a GPU is needed; of the Hub, only what lies in its
cache is looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from relapse.corpora import SOURCES
from relapse.corpora.corpus import Corpus
from relapse.models.files import Model, describe
from relapse.models.tokenizer import must_have_rows
from relapse.quantization import BACKENDS
from relapse.quantization.calibration import CalibratedSettings, texts
from relapse.runtime.errors import ConfigError, RelapseError
from relapse.text.prompts import asked_texts, prompts
from relapse.unlearning.elsewhere import is_made_elsewhere
from relapse.unlearning.lora import target_layers

Key = tuple[str | int, ...]
Problem = tuple[Key, str]


class Sound:
    """Which parts of a configuration have no problem yet, and so can be looked at more closely."""

    def __init__(self, bad: Sequence[Key]):
        self.bad = list(bad)

    def __call__(self, *key: str | int) -> bool:
        return not any(wrong[: len(key)] == key or key[: len(wrong)] == wrong for wrong in self.bad)


def check(config: dict, bad: Sequence[Key] = ()) -> list[Problem]:
    """The problems of a configuration with its defaults filled in; parts under a key in `bad` are left out."""
    sound = Sound(bad)
    problems = list(_between_keys(config, sound))
    models: dict[str, Model] = {}
    for name in _section(config, "models"):
        if sound("models", name):
            try:
                models[name] = describe(config["models"][name])
            except ConfigError as error:
                problems.append((("models", name), str(error)))
    corpora: dict[str, Corpus] = {}
    for name, entry in _section(config, "corpora").items():
        if sound("corpora", name) and not _on_hub(entry):
            try:
                corpora[name] = SOURCES.get(entry["source"]).read(entry)
            except (RelapseError, OSError, ValueError) as error:
                problems.append((("corpora", name), str(error)))
    problems += _group_sizes(config, sound, models)
    problems += _window_lengths(config, sound, models)
    problems += _prompts(config, sound, models, corpora)
    problems += _rows(models, corpora)
    problems += _world(config, sound, corpora)
    problems += _task_folders(config, sound)
    problems += _adapters(config, sound, models)
    problems += _calibration(config, sound, models, corpora)
    return problems


def local_models(config: dict) -> dict[str, Model]:
    """What is known of every model of a sound configuration."""
    return {name: describe(entry) for name, entry in config["models"].items()}


def local_corpora(config: dict) -> dict[str, Corpus | None]:
    """Every corpus of a sound configuration; None for one that the Hub would have to be asked for."""
    return {
        name: None if _on_hub(entry) else SOURCES.get(entry["source"]).read(entry)
        for name, entry in config["corpora"].items()
    }


def _section(config: dict, name: str) -> dict:
    """A section of the configuration; empty where it is missing or no mapping."""
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _between_keys(config: dict, sound: Sound) -> Iterator[Problem]:
    if sound("quantizers", "full") and config["quantizers"]["full"]["backend"] != "full":
        backend = config["quantizers"]["full"]["backend"]
        yield ("quantizers", "full", "backend"), f"is {backend!r}, must be full: the others are compared with it."
    if sound("quantizers", "full") and "methods" in config["quantizers"]["full"]:
        yield ("quantizers", "full", "methods"), "leave it out: every model is scored in full precision."
    models = _section(config, "models")
    known = [name for name in ("target", "retrain") if name in models and sound("models", name)]
    trained = [name for name in known if models[name]["source"] == "train"]
    if trained and "base" not in models:
        names = " and ".join(trained)
        yield ("models", "base"), f"missing; {names} (source: train) must be trained from something."
    runs = {name: entry for name, entry in _section(config, "methods").items() if not is_made_elsewhere(entry)}
    for name, entry in runs.items() if config.get("compute") == "bfloat16" else ():
        for key in ("storage", "state_storage"):
            if sound("methods", name) and entry["parameters"] == "full" and entry[key] != "bfloat16":
                yield (
                    ("methods", name, key),
                    f"is {entry[key]}, must be bfloat16 with compute: bfloat16, which holds parameters and "
                    "optimiser states in bfloat16; use compute: float32, or set it.",
                )
    if sound("metrics", "privleak", "reference") and "privleak" in config["metrics"]:
        reference = config["metrics"]["privleak"]["reference"]
        if reference == "retrain" and sound("models") and "retrain" not in models:
            yield (
                ("metrics", "privleak", "reference"),
                "is retrain, but there is no models.retrain: add it, or give the AUC of a retrain model as a number.",
            )


# --- corpora ----------------------------------------------------------------------------------------------------------


def _on_hub(entry: dict) -> bool:
    """Whether reading the corpus of this entry, complete as it is, would need the Hub."""
    return bool(entry.get("id") and entry.get("revision") and not entry.get("path"))


# --- keys that must fit the models ------------------------------------------------------------------------------------


def started_from(config: dict, name: str) -> str:
    """The models entry that decides shapes and context of `name`: itself, or base where it is trained here."""
    entry = _section(config, "models").get(name)
    return "base" if isinstance(entry, dict) and entry.get("source") == "train" else name


def trained_in(config: dict, name: str) -> str:
    """The number format that a sound configuration's target or retrain is trained in: its own, or the study's."""
    return config["models"][name].get("compute", config["compute"])


def _group_sizes(config: dict, sound: Sound, models: dict[str, Model]) -> Iterator[Problem]:
    for name, entry in _section(config, "quantizers").items():
        if not sound("quantizers", name):
            continue
        said = set()
        for origin, model in models.items():
            if not model.linear:
                continue
            try:
                BACKENDS.get(entry["backend"]).check(model.linear, BACKENDS.settings(entry))
            except ConfigError as error:
                if str(error) not in said:
                    said.add(str(error))
                    yield ("quantizers", name), f"does not fit models.{origin}: {error}"


def _window_lengths(config: dict, sound: Sound, models: dict[str, Model]) -> Iterator[Problem]:
    entries = [(("models", name), name) for name in ("target", "retrain") if name in _section(config, "models")]
    entries += [(("methods", name), "target") for name in _section(config, "methods")]
    for key, model in entries:
        entry = config[key[0]][key[1]]
        origin = started_from(config, model)
        context = models[origin].context if origin in models else None
        if (
            sound(*key, "max_length")
            and "max_length" in entry
            and context is not None
            and entry["max_length"] > context
        ):
            yield (
                (*key, "max_length"),
                f"is {entry['max_length']}, must be at most {context}, the context of models.{origin} "
                "(max_position_embeddings).",
            )


def _adapters(config: dict, sound: Sound, models: dict[str, Model]) -> Iterator[Problem]:
    """LoRA where it has no meaning: masks of rows, masks of what has no adapter, layers that there are not."""
    origin = started_from(config, "target")
    layers = models[origin].linear if origin in models else {}
    for name, entry in _section(config, "methods").items():
        if not sound("methods", name) or is_made_elsewhere(entry) or entry["parameters"] != "lora":
            continue
        if entry.get("mask") == "row":
            yield (
                ("methods", name, "mask"),
                "is row, must be one of paper, released, random with parameters: lora: an adapter's A is shared by all "
                "rows of a weight, so that no row can be left out.",
            )
        if entry.get("modules") == "all" and entry.get("mask") != "released":
            yield (
                ("methods", name, "modules"),
                "is all, must be linear with parameters: lora: embeddings and norms have no adapter.",
            )
        if layers:
            try:
                adapted = target_layers(list(layers), entry["lora"]["target_modules"])
            except ConfigError as error:
                yield ("methods", name, "lora"), str(error)
                continue
            full = max(min(layers[layer]) for layer in adapted)
            if entry["lora"]["rank"] > full:
                yield (
                    ("methods", name, "lora", "rank"),
                    f"is {entry['lora']['rank']}, must be at most {full}: models.{origin} has no layer of more.",
                )


def _calibration(config: dict, sound: Sound, models: dict[str, Model], corpora: dict[str, Corpus]) -> Iterator[Problem]:
    """Calibrated quantizers whose text is missing, or whose windows overrun a model's context."""
    origin = started_from(config, "target")
    context = models[origin].context if origin in models else None
    for name, entry in _section(config, "quantizers").items():
        settings = BACKENDS.settings(entry) if sound("quantizers", name) else None
        if not isinstance(settings, CalibratedSettings):
            continue
        if context is not None and settings.sample_length > context:
            yield (
                ("quantizers", name, "sample_length"),
                f"is {settings.sample_length}, must be at most {context}, the context of models.{origin} "
                "(max_position_embeddings).",
            )
        for corpus_name, corpus in corpora.items():
            try:
                texts(corpus, settings)
            except ConfigError as error:
                where = "" if settings.calibration == "file" else f"corpora.{corpus_name}: "
                yield ("quantizers", name), f"{where}{error}"


def _prompts(config: dict, sound: Sound, models: dict[str, Model], corpora: dict[str, Corpus]) -> Iterator[Problem]:
    """Prompts that with their answers overrun a model's context; once for a metric and a corpus."""
    origins = {started_from(config, name) for name in ("target", "retrain") if name in _section(config, "models")}
    readable = [
        name for name in sorted(origins & set(models)) if models[name].context and models[name].tokenizer is not None
    ]
    metrics = {name: entry for name, entry in _section(config, "metrics").items() if sound("metrics", name)}
    for corpus_name, corpus in corpora.items() if readable else ():
        tokenizers = {name: models[name].tokenizer(corpus) for name in readable}
        for metric, asked in metric_prompts(corpus, metrics).items():
            new = metrics[metric]["max_new_tokens"]
            for name in readable:
                longest = longest_prompt(tokenizers[name], asked, metrics[metric])
                if longest + new > models[name].context:
                    yield (
                        ("metrics", metric),
                        f"the longest prompt of corpora.{corpus_name} ({longest} tokens) and {new} new tokens need "
                        f"{longest + new} positions, but the context of models.{name} (max_position_embeddings) is "
                        f"{models[name].context}: use a model with a longer context, or shorter examples.",
                    )
                    break


def _rows(models: dict[str, Model], corpora: dict[str, Corpus]) -> Iterator[Problem]:
    """Texts with a token that a model's embedding has no row for, where its tokenizer has more tokens than that."""
    for name, model in models.items():
        for corpus_name, corpus in corpora.items() if model.rows and model.tokenizer else ():
            known = model.tokenizer(corpus)
            if max(known.get_vocab(with_added_tokens=True).values(), default=-1) < model.rows:
                continue
            whole = [text for texts in corpus.raw.values() for text in texts] + asked_texts(corpus)
            where = f"corpora.{corpus_name}"
            try:
                must_have_rows(lambda text, by=known: by.encode(text).ids, known.id_to_token, model.rows, whole, where)
            except RelapseError as error:
                yield ("models", name), str(error)


def _world(config: dict, sound: Sound, corpora: dict[str, Corpus]) -> Iterator[Problem]:
    """Corpora that have no multiple-choice questions for world_facts to ask; what is on the Hub has none."""
    if "world_facts" not in _section(config, "metrics") or not sound("metrics", "world_facts"):
        return
    for name, entry in _section(config, "corpora").items():
        if sound("corpora", name) and (_on_hub(entry) or (name in corpora and not corpora[name].world)):
            how = "set its `world`, to 24 say" if entry["source"] == "synthetic" else "add the file to its folder"
            yield (
                ("metrics", "world_facts"),
                f"corpora.{name} has no utility/world.json: {how}, or leave the metric out.",
            )


def _task_folders(config: dict, sound: Sound) -> Iterator[Problem]:
    """Folders with tasks for lm-evaluation-harness that are not there."""
    for name, entry in _section(config, "metrics").items():
        folder = sound("metrics", name) and entry.get("include_path")
        if folder and not Path(folder).is_dir():
            yield ("metrics", name, "include_path"), f"no such folder: {folder!r}."


def metric_prompts(corpus: Corpus, metrics: Mapping[str, Any]) -> dict[str, list[str]]:
    """Generating metric of `metrics` (name -> its settings) -> its prompts; fluency's are the beginnings of these."""
    passages = [item["prompt"] for item in corpus.verbmem]
    asked = {"verbmem_forget": passages, "verbmem_forget_sampled": passages}
    for split in ("forget", "retain"):
        if settings := metrics.get(f"knowmem_{split}"):
            asked[f"knowmem_{split}"] = prompts(corpus.knowmem, split, settings["prompt_ending"])
    asked["fluency"] = corpus.privleak["retain"]
    return {name: texts for name, texts in asked.items() if name in metrics}


def longest_prompt(tokenizer: Any, texts: Sequence[str], settings: dict) -> int:
    """Tokens of the longest of a metric's prompts, which its settings may cut behind `prompt_tokens` and a BOS."""
    longest = max(len(tokenizer.encode(text).ids) for text in texts)
    return min(longest, settings["prompt_tokens"] + 1) if "prompt_tokens" in settings else longest
