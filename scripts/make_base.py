"""Base model: a random Llama with a byte-level BPE tokenizer trained on the corpus."""

import argparse
import json
from pathlib import Path

from relapse import models
from relapse.corpora.muse import read_folder
from relapse.errors import exit_on_error
from relapse.metrics.generation import check_context
from relapse.metrics.knowmem import few_shot_prompt, prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="models.base, as JSON")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--new-tokens", type=int, required=True, help="the longest answer that a metric asks for")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    corpus = read_folder(args.corpus)
    # The few-shot prompts are seen by the tokenizer, so that their blank lines are tokens of the vocabulary.
    shots = [few_shot_prompt(corpus.knowmem[part]) for part in ("forget_icl", "retain_icl")]
    texts = [text for part in corpus.raw.values() for text in part] + shots
    tokenizer = models.train_tokenizer(texts, args.settings["architecture"]["vocab_size"])
    model = models.build_base(args.settings["architecture"], args.settings["seed"], tokenizer)
    # Before anything is trained, since the questions come only after training.
    questions = prompts(corpus.knowmem, "forget") + prompts(corpus.knowmem, "retain")
    check_context(model, [len(tokenizer(prompt)["input_ids"]) for prompt in questions], args.new_tokens)
    models.save(model, tokenizer, args.out, {"settings": args.settings})
    print(f"random Llama with {model.num_parameters():,} parameters and {len(tokenizer):,} tokens")


if __name__ == "__main__":
    exit_on_error(main)
