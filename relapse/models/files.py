"""What is known of a model before it is loaded: shapes, context, tokenizer.

Knows a model directory by its config.json, the headers of its safetensors files and its tokenizer.json, so that no
weight is read and neither transformers nor a GPU is needed. Loading is loading.py's.
"""

import json
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from relapse.corpora.corpus import Corpus
from relapse.models.random_base import byte_level_bpe
from relapse.runtime.errors import ConfigError
from relapse.text.prompts import tokenizer_texts

Shapes = dict[str, tuple[int, ...]]

# What of a repository belongs to a model: config, weights, tokenizer and its chat template.
MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")
# Two-dimensional weights that no quantizer touches, embeddings aside.
UNQUANTIZED = ("lm_head.weight", "embed_out.weight", "wpe.weight", "embed_positions.weight")
# Models that keep (in, out) weights, in transformers' Conv1D.
TRANSPOSED = ("gpt2", "openai-gpt")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True)
class Architecture:
    """The shape of a causal language model. parameters: all of them; linear: those that quantizers touch."""

    hidden: int
    intermediate: int
    layers: int
    key_values: int  # width of keys, and of values
    vocabulary: int
    parameters: int
    linear: int

    @classmethod
    def of_config(cls, config: Mapping[str, Any], parameters: int | None = None) -> "Architecture | None":
        """From the keys of a config.json; None where it lacks one.

        parameters: their number where it is known, otherwise that of a Llama of this shape.
        """
        try:
            hidden, layers, vocabulary = (config[key] for key in ("hidden_size", "num_hidden_layers", "vocab_size"))
            heads = config["num_attention_heads"]
            intermediate = config["intermediate_size"]
        except KeyError:
            return None
        key_values = hidden // heads * (config.get("num_key_value_heads") or heads)
        linear = layers * (2 * hidden * hidden + 2 * hidden * key_values + 3 * hidden * intermediate)
        rows = vocabulary * (1 if config.get("tie_word_embeddings") else 2)
        counted = linear + rows * hidden + (2 * layers + 1) * hidden
        return cls(hidden, intermediate, layers, key_values, vocabulary, parameters or counted, linear)


@dataclass
class Model:
    """What is known of a model before it is loaded.

    linear: layer -> (out, in) of the weights that quantizers touch; transposed: on disk they lie as (in, out).
    context: positions, or None where unknown.
    tokenizer: corpus -> its `tokenizers.Tokenizer` (trained on the corpus where the model is made here), or None.
    architecture: its shape, or None where config.json does not say.
    """

    linear: dict[str, tuple[int, int]] = field(default_factory=dict)
    context: int | None = None
    tokenizer: Callable[[Corpus], Any] | None = None
    architecture: Architecture | None = None
    transposed: bool = False


def describe(entry: dict) -> Model:
    """What is known of a models entry, for the Hub what its cache tells. Raises ConfigError for what cannot work."""
    if entry["source"] == "random":
        return random_model(entry["architecture"])
    folder = location(entry)
    if entry["source"] != "hub":
        return read_model(folder) if folder else Model()
    elsewhere = entry.get("tokenizer") or entry
    beside = cached(elsewhere["id"], elsewhere["revision"])
    with suppress(ConfigError):  # half downloaded or damaged: the download goes on, and says what it cannot mend
        return read_model(folder, beside) if folder and beside else Model()
    return Model()


def location(entry: dict) -> Path | None:
    """Folder of the files of a models entry that is made elsewhere; None where they are not here yet."""
    if entry["source"] == "local":
        return Path(entry["path"])
    return cached(entry["id"], entry["revision"]) if entry["source"] == "hub" else None


def cached(repository: str, revision: str) -> Path | None:
    """Folder of a Hub snapshot of which at least something is in the cache; None where nothing is. Asks no network."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise ConfigError(f"id: {repository!r} is no id on the Hub: it reads OWNER/NAME") from None
    name = repo_folder_name(repo_id=repository, repo_type="model")
    folder = Path(constants.HF_HUB_CACHE) / name / "snapshots" / revision
    return folder if folder.is_dir() else None


def random_model(architecture: dict) -> Model:
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
        Architecture.of_config(architecture),
    )


def read_model(folder: Path, tokenizer_folder: Path | None = None) -> Model:
    """What a model directory says of itself. Raises ConfigError naming the file that is missing or does not fit.

    tokenizer_folder: where its tokenizer lies if not beside it.
    """
    beside = tokenizer_folder or folder
    settings = read_config(folder)
    shapes = tensor_shapes(folder)
    embeddings = {name: shape for name, shape in shapes.items() if name.endswith(EMBEDDINGS)}
    rows = max((shape[0] for shape in embeddings.values()), default=None)
    size = settings.get("vocab_size")
    if rows is not None and isinstance(size, int) and size != rows:
        raise ConfigError(
            f"{folder}: config.json says vocab_size {size}, but the weights hold an embedding of {rows} rows: they do "
            "not belong together"
        )
    widths = {shape[1] for shape in embeddings.values()}
    width = settings.get("word_embed_proj_dim") or settings.get("hidden_size")
    if isinstance(width, int) and widths and widths != {width}:
        raise ConfigError(
            f"{folder}: config.json says hidden_size {width}, but the weights hold embeddings of width "
            f"{', '.join(map(str, sorted(widths)))}: they do not belong together"
        )
    if not any((beside / name).is_file() for name in TOKENIZERS):
        raise ConfigError(f"{beside} has no tokenizer: expected one of {', '.join(TOKENIZERS)}")
    tokenizer = _tokenizer(beside / "tokenizer.json") if (beside / "tokenizer.json").is_file() else None
    if tokenizer is not None:
        tokens = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        if rows is not None and tokens > rows:
            raise ConfigError(
                f"{folder}: the tokenizer has {tokens} tokens, but the model's embedding only {rows} rows: tokenizer "
                "and model do not belong together"
            )
    context = settings.get("max_position_embeddings", settings.get("n_positions"))
    transposed = settings.get("model_type") in TRANSPOSED
    linear = {
        name.removesuffix(".weight"): shape[::-1] if transposed else shape
        for name, shape in shapes.items()
        if len(shape) == 2 and name.endswith(".weight") and not name.endswith(EMBEDDINGS + UNQUANTIZED)
    }
    return Model(
        linear,
        context if isinstance(context, int) else None,
        tokenizer and (lambda corpus: tokenizer),
        Architecture.of_config(settings, sum(map(prod, shapes.values()))),
        transposed,
    )


def read_config(folder: Path) -> dict[str, Any]:
    """A model directory's config.json. Raises ConfigError where there is none."""
    if not folder.is_dir():
        raise ConfigError(f"no such model directory: {folder}")
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is no model directory: it has no config.json")
    return _json_object(folder / "config.json")


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
