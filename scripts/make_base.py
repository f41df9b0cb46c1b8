"""Base model: a random Llama with a byte-level BPE tokenizer trained on the corpus."""

import argparse
import json
from pathlib import Path

from relapse.corpora.muse import read_folder
from relapse.models.random_base import build_base, train_tokenizer
from relapse.models.saving import save
from relapse.models.settings import RandomModel
from relapse.runtime.errors import exit_on_error
from relapse.text.prompts import tokenizer_texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="models.base, as JSON")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    corpus = read_folder(args.corpus)
    settings = RandomModel.of(args.settings)
    tokenizer = train_tokenizer(tokenizer_texts(corpus), settings.architecture.vocab_size)
    model = build_base(settings.architecture.plain(), settings.seed, tokenizer)
    save(model, tokenizer, args.out, {"settings": settings.plain()})
    print(f"random Llama with {model.num_parameters():,} parameters and {len(tokenizer):,} tokens")


if __name__ == "__main__":
    exit_on_error(main)
