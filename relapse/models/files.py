"""What is known of a model before it is loaded: shapes, context, tokenizer.

This module reads only config.json, the headers of the safetensors files and tokenizer.json: no weights. It needs
neither transformers nor a GPU. loading.py loads models.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from relapse.corpora.corpus import Corpus
from relapse.models import package
from relapse.models.headers import ADAPTER, read_config, tensor_shapes, weight_files
from relapse.models.random_base import byte_level_bpe
from relapse.models.settings import HubModel, LlamaArchitecture, PackageModel, RandomModel
from relapse.models.tokenizer import must_be_readable
from relapse.runtime.errors import ConfigError
from relapse.runtime.settings import Settings
from relapse.text.prompts import tokenizer_texts
from relapse.text.wording import Render, renderer

# What of a repository belongs to a model: config, weights, tokenizer and its chat template.
MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
# Of these, what is read beside the weights.
READ_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "training.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.jinja",
)
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")
# Two-dimensional weights that no quantizer touches, embeddings aside.
UNQUANTIZED = ("lm_head.weight", "embed_out.weight", "wpe.weight", "embed_positions.weight")
# Models that keep (in, out) weights, in transformers' Conv1D.
TRANSPOSED = ("gpt2", "openai-gpt")


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
    rows: those of its embedding, where they are known. beside: the folder of its tokenizer, where it has one yet.
    architecture: its shape, or None where config.json does not give it.
    """

    linear: dict[str, tuple[int, int]] = field(default_factory=dict)
    context: int | None = None
    tokenizer: Callable[[Corpus], Any] | None = None
    architecture: Architecture | None = None
    transposed: bool = False
    rows: int | None = None
    beside: Path | None = None

    def render(self, chat: list[dict[str, str]]) -> str:
        """A chat as its tokenizer's chat template writes it. Raises RelapseError where there is none."""
        return self._render(chat)

    @cached_property
    def _render(self) -> Render:
        from relapse.models.tokenizer import load_tokenizer

        if self.beside is None:
            return renderer(SimpleNamespace(chat_template=None))
        return renderer(load_tokenizer(self.beside))


def describe(entry: Settings) -> Model:
    """What is known of a models entry, for the Hub what its cache holds. Raises ConfigError for what cannot work."""
    if isinstance(entry, RandomModel):
        return random_model(entry.architecture)
    folder = location(entry)
    if not isinstance(entry, HubModel):
        return read_model(folder) if folder else Model()
    elsewhere = entry.tokenizer or entry
    beside = cached(elsewhere.id, elsewhere.revision)
    with suppress(ConfigError):  # half downloaded or damaged: the download goes on, and reports what it cannot mend
        return read_model(folder, beside) if folder and beside else Model()
    return Model()


def location(entry: Any) -> Path | None:
    """Folder of the files of a model, unlearned or not, that is made elsewhere; None where they are not here yet."""
    if entry.source == "local":
        return Path(entry.path)
    if isinstance(entry, PackageModel):
        folder = package.location(entry)
        return folder if folder.is_dir() else None
    return cached(entry.id, entry.revision) if entry.source == "hub" else None


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


def random_model(architecture: LlamaArchitecture) -> Model:
    hidden, heads = architecture.hidden_size, architecture.num_attention_heads
    pairs = architecture.num_key_value_heads or heads
    if hidden % heads or (hidden // heads) % 2:
        raise ConfigError(
            f"architecture: hidden_size {hidden} must be an even multiple of num_attention_heads {heads} (rotary "
            "positions turn pairs of dimensions of a head)."
        )
    if heads % pairs:
        raise ConfigError(f"architecture: num_key_value_heads {pairs} must divide num_attention_heads {heads}.")
    inner, width = architecture.intermediate_size, hidden // heads * pairs
    attention = {"q_proj": (hidden, hidden), "k_proj": (width, hidden), "v_proj": (width, hidden)}
    attention["o_proj"] = (hidden, hidden)
    feed_forward = {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}
    shapes = {f"model.layers.0.self_attn.{name}": shape for name, shape in attention.items()}
    shapes |= {f"model.layers.0.mlp.{name}": shape for name, shape in feed_forward.items()}
    return Model(
        shapes,
        architecture.max_position_embeddings,
        lambda corpus: byte_level_bpe(tokenizer_texts(corpus), architecture.vocab_size),
        Architecture.of_config(architecture.plain()),
    )


def origin_files(folder: Path) -> list[Path]:
    """The files of a model directory, or of an adapter's, that are read, and no others that lie there.

    Raises ConfigError of no weights.
    """
    beside = {file for pattern in READ_FILES for file in folder.glob(pattern) if file.is_file()}
    adapter = {file for file in folder.glob("adapter_*") if file.suffix in (".json", ".safetensors")}
    weights = adapter if (folder / ADAPTER).is_file() else set(weight_files(folder))
    return sorted(file for file in beside | weights if not file.name.startswith("."))


def read_model(folder: Path, tokenizer_folder: Path | None = None) -> Model:
    """A model directory, without loading it. Raises ConfigError naming the file that is missing or does not fit.

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
            f"{folder}: config.json has vocab_size {size}, but the weights hold an embedding of {rows} rows: they do "
            "not belong together"
        )
    widths = {shape[1] for shape in embeddings.values()}
    width = settings.get("word_embed_proj_dim") or settings.get("hidden_size")
    if isinstance(width, int) and widths and widths != {width}:
        raise ConfigError(
            f"{folder}: config.json has hidden_size {width}, but the weights hold embeddings of width "
            f"{', '.join(map(str, sorted(widths)))}: they do not belong together"
        )
    must_be_readable(beside)
    tokenizer = _tokenizer(beside / "tokenizer.json") if (beside / "tokenizer.json").is_file() else None
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
        rows,
        beside,
    )


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library's words for an unreadable file
        raise ConfigError(f"{path} is not a tokenizer: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
