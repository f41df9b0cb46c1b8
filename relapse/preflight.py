"""What is wrong with a study that only its files, or several of its keys together, can tell; before anything runs.

Knows a model directory by its config.json, the headers of its safetensors files and its tokenizer.json, so that no
weight is read and neither transformers nor a GPU is needed. Models and data sets on the Hub are not looked at.
"""

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from relapse.calibration import texts
from relapse.corpora import SOURCES
from relapse.corpora.corpus import Corpus
from relapse.errors import ConfigError, RelapseError
from relapse.models import byte_level_bpe
from relapse.prompts import prompts, tokenizer_texts
from relapse.quantization import BACKENDS
from relapse.unlearning.lora import target_layers

Key = tuple[str | int, ...]
Problem = tuple[Key, str]
Shapes = dict[str, tuple[int, ...]]

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")
# Two-dimensional weights that no quantizer touches, embeddings aside.
UNQUANTIZED = ("lm_head.weight", "embed_out.weight", "wpe.weight", "embed_positions.weight")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


class _Sound:
    """Which parts of a configuration have no problem yet, and so can be looked at more closely."""

    def __init__(self, bad: Sequence[Key]):
        self.bad = list(bad)

    def __call__(self, *key: str | int) -> bool:
        return not any(wrong[: len(key)] == key or key[: len(wrong)] == wrong for wrong in self.bad)


@dataclass
class Model:
    """What is known of a model before it is loaded.

    linear: layer -> (out, in) of the weights that quantizers touch. context: positions, or None where unknown.
    tokenizer: corpus -> its `tokenizers.Tokenizer` (trained on the corpus where the model is made here), or None.
    """

    linear: dict[str, tuple[int, int]] = field(default_factory=dict)
    context: int | None = None
    tokenizer: Callable[[Corpus], Any] | None = None


def check(config: dict, bad: Sequence[Key] = ()) -> list[Problem]:
    """The problems of a configuration with its defaults filled in; parts under a key in `bad` are left out."""
    sound = _Sound(bad)
    problems = list(_between_keys(config, sound))
    models: dict[str, Model] = {}
    for name in _section(config, "models"):
        if sound("models", name):
            try:
                models[name] = _model(config["models"][name])
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
    problems += _adapters(config, sound, models)
    problems += _calibration(config, sound, models, corpora)
    return problems


def _section(config: dict, name: str) -> dict:
    """A section of the configuration; empty where it is missing or no mapping."""
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _between_keys(config: dict, sound: _Sound) -> Iterator[Problem]:
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
    if config.get("compute") == "bfloat16":
        for name, entry in _section(config, "methods").items():
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


# --- models -----------------------------------------------------------------------------------------------------------


def _model(entry: dict) -> Model:
    """What is known of a models entry. Raises ConfigError for what cannot work."""
    if entry["source"] == "random":
        return _random_model(entry["architecture"])
    if entry["source"] == "local":
        return read_model(Path(entry["path"]))
    return Model()


def _random_model(architecture: dict) -> Model:
    hidden, heads = architecture["hidden_size"], architecture["num_attention_heads"]
    pairs = architecture.get("num_key_value_heads", heads)
    if hidden % heads or (hidden // heads) % 2:
        raise ConfigError(
            f"architecture: hidden_size {hidden} must be an even multiple of num_attention_heads {heads} (rotary "
            "positions turn pairs of dimensions of a head)."
        )
    if heads % pairs:
        raise ConfigError(f"architecture: num_key_value_heads {pairs} must divide num_attention_heads {heads}.")
    inner, width = architecture["intermediate_size"], hidden // heads * pairs
    attention = {"q_proj": (hidden, hidden), "k_proj": (width, hidden), "v_proj": (width, hidden)}
    attention["o_proj"] = (hidden, hidden)
    feed_forward = {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}
    shapes = {f"model.layers.0.self_attn.{name}": shape for name, shape in attention.items()}
    shapes |= {f"model.layers.0.mlp.{name}": shape for name, shape in feed_forward.items()}
    return Model(
        shapes,
        architecture["max_position_embeddings"],
        lambda corpus: byte_level_bpe(tokenizer_texts(corpus), architecture["vocab_size"]),
    )


def read_model(folder: Path) -> Model:
    """What a model directory says of itself. Raises ConfigError naming the file that is missing or does not fit."""
    if not folder.is_dir():
        raise ConfigError(f"no such model directory: {folder}")
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is no model directory: it has no config.json")
    settings = _json_object(folder / "config.json")
    shapes = tensor_shapes(folder)
    embeddings = {name: shape for name, shape in shapes.items() if name.endswith(EMBEDDINGS)}
    rows = max((shape[0] for shape in embeddings.values()), default=None)
    size = settings.get("vocab_size")
    if rows is not None and isinstance(size, int) and size != rows:
        raise ConfigError(
            f"{folder}: config.json says vocab_size {size}, but the weights hold an embedding of {rows} rows: they do "
            "not belong together"
        )
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ConfigError(f"{folder} has no tokenizer: expected one of {', '.join(TOKENIZERS)}")
    tokenizer = _tokenizer(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else None
    if tokenizer is not None:
        tokens = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        if rows is not None and tokens > rows:
            raise ConfigError(
                f"{folder}: the tokenizer has {tokens} tokens, but the model's embedding only {rows} rows: tokenizer "
                "and model do not belong together"
            )
    context = settings.get("max_position_embeddings", settings.get("n_positions"))
    linear = {
        name.removesuffix(".weight"): shape
        for name, shape in shapes.items()
        if len(shape) == 2 and name.endswith(".weight") and not name.endswith(EMBEDDINGS + UNQUANTIZED)
    }
    return Model(linear, context if isinstance(context, int) else None, tokenizer and (lambda corpus: tokenizer))


def tensor_shapes(folder: Path) -> Shapes:
    """Shapes of all tensors of a model directory, from the headers of its safetensors files (all shards)."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = _json_object(index).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise ConfigError(f"{index} has no weight_map: it is no index of safetensors shards")
        files = [folder / name for name in sorted(set(map(str, names.values())))]
    else:
        files = [folder / "model.safetensors"]
    missing = [file.name for file in files if not file.is_file()]
    if missing and index.is_file():
        raise ConfigError(f"{folder} lacks weights that {index.name} names: {', '.join(missing)}")
    if missing:
        others = sorted(path.name for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern))
        found = f" (it has {', '.join(others[:5])})" if others else ""
        raise ConfigError(
            f"{folder} has no weights: expected model.safetensors, or model.safetensors.index.json with its shards"
            f"{found}"
        )
    return {name: shape for file in files for name, shape in _header(file).items()}


def _header(file: Path) -> Shapes:
    """Tensor name -> shape, from the header of one safetensors file: 8 bytes of length, then JSON, then the data."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size - 8:
                raise ValueError("the header is longer than the file")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        shapes = {name: tuple(tensor["shape"]) for name, tensor in header.items()}
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (OSError, struct.error, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is not a safetensors file: {error}") from None
    if size < 8 + length + end:
        raise ConfigError(f"{file} is cut short: {size} bytes of {8 + length + end}")
    empty = [name for name, shape in shapes.items() if not prod(shape)]
    if empty:
        raise ConfigError(f"{file}: the tensor {empty[0]} is empty")
    return shapes


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a JSON object")
    return content


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library's words for an unreadable file
        raise ConfigError(f"{path} is not a tokenizer: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


# --- corpora ----------------------------------------------------------------------------------------------------------


def _on_hub(entry: dict) -> bool:
    """Whether reading the corpus of this entry, complete as it is, would need the Hub."""
    return bool(entry.get("id") and entry.get("revision") and not entry.get("path"))


# --- keys that must fit the models ------------------------------------------------------------------------------------


def _started_from(config: dict, name: str) -> str:
    """The models entry that decides shapes and context of `name`: itself, or base where it is trained here."""
    entry = _section(config, "models").get(name)
    return "base" if isinstance(entry, dict) and entry.get("source") == "train" else name


def _group_sizes(config: dict, sound: _Sound, models: dict[str, Model]) -> Iterator[Problem]:
    for name, entry in _section(config, "quantizers").items():
        if not sound("quantizers", name):
            continue
        said = set()
        for origin, model in models.items():
            if not model.linear:
                continue
            try:
                BACKENDS.get(entry["backend"]).check(model.linear, entry)
            except ConfigError as error:
                if str(error) not in said:
                    said.add(str(error))
                    yield ("quantizers", name), f"does not fit models.{origin}: {error}"


def _window_lengths(config: dict, sound: _Sound, models: dict[str, Model]) -> Iterator[Problem]:
    entries = [(("models", name), name) for name in ("target", "retrain") if name in _section(config, "models")]
    entries += [(("methods", name), "target") for name in _section(config, "methods")]
    for key, model in entries:
        entry = config[key[0]][key[1]]
        origin = _started_from(config, model)
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


def _adapters(config: dict, sound: _Sound, models: dict[str, Model]) -> Iterator[Problem]:
    """LoRA where it has no meaning: masks of rows, masks of what has no adapter, layers that there are not."""
    origin = _started_from(config, "target")
    layers = list(models[origin].linear) if origin in models else []
    for name, entry in _section(config, "methods").items():
        if not sound("methods", name) or entry["parameters"] != "lora":
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
                target_layers(layers, entry["lora"]["target_modules"])
            except ConfigError as error:
                yield ("methods", name, "lora"), str(error)


def _calibration(
    config: dict, sound: _Sound, models: dict[str, Model], corpora: dict[str, Corpus]
) -> Iterator[Problem]:
    """Calibrated quantizers whose text is missing, or whose windows overrun a model's context."""
    origin = _started_from(config, "target")
    context = models[origin].context if origin in models else None
    for name, entry in _section(config, "quantizers").items():
        if not sound("quantizers", name) or "calibration" not in entry:
            continue
        if context is not None and entry["sample_length"] > context:
            yield (
                ("quantizers", name, "sample_length"),
                f"is {entry['sample_length']}, must be at most {context}, the context of models.{origin} "
                "(max_position_embeddings).",
            )
        for corpus_name, corpus in corpora.items():
            try:
                texts(corpus, entry)
            except ConfigError as error:
                where = "" if entry["calibration"] == "file" else f"corpora.{corpus_name}: "
                yield ("quantizers", name), f"{where}{error}"


def _prompts(config: dict, sound: _Sound, models: dict[str, Model], corpora: dict[str, Corpus]) -> Iterator[Problem]:
    """Prompts that with their answers overrun a model's context; once for a metric and a corpus."""
    origins = {_started_from(config, name) for name in ("target", "retrain") if name in _section(config, "models")}
    readable = [
        name for name in sorted(origins & set(models)) if models[name].context and models[name].tokenizer is not None
    ]
    metrics = {name: entry for name, entry in _section(config, "metrics").items() if sound("metrics", name)}
    for corpus_name, corpus in corpora.items() if readable else ():
        tokenizers = {name: models[name].tokenizer(corpus) for name in readable}
        for metric, asked in _metric_prompts(corpus).items():
            if metric not in metrics:
                continue
            new = metrics[metric]["max_new_tokens"]
            for name in readable:
                longest = max(len(tokenizers[name].encode(prompt).ids) for prompt in asked)
                if longest + new > models[name].context:
                    yield (
                        ("metrics", metric),
                        f"the longest prompt of corpora.{corpus_name} ({longest} tokens) and {new} new tokens need "
                        f"{longest + new} positions, but the context of models.{name} (max_position_embeddings) is "
                        f"{models[name].context}: use a model with a longer context, or shorter examples.",
                    )
                    break


def _metric_prompts(corpus: Corpus) -> dict[str, list[str]]:
    """Generating metric -> its prompts."""
    passages = [item["prompt"] for item in corpus.verbmem]
    verbmem = {"verbmem_forget": passages, "verbmem_forget_sampled": passages}
    return verbmem | {f"knowmem_{split}": prompts(corpus.knowmem, split) for split in ("forget", "retain")}
