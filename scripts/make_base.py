"""Base model: a random Llama with a byte-level BPE tokenizer trained on the corpus."""

import argparse
import json
from pathlib import Path

from relapse import models
from relapse.corpora.muse import read_folder
from relapse.errors import exit_on_error
from relapse.prompts import tokenizer_texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="models.base, as JSON")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    corpus = read_folder(args.corpus)
    tokenizer = models.train_tokenizer(tokenizer_texts(corpus), args.settings["architecture"]["vocab_size"])
    model = models.build_base(args.settings["architecture"], args.settings["seed"], tokenizer)
    models.save(model, tokenizer, args.out, {"settings": args.settings})
    print(f"random Llama with {model.num_parameters():,} parameters and {len(tokenizer):,} tokens")


if __name__ == "__main__":
    exit_on_error(main)
