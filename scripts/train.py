"""Target or retrain: train the base model on forget + retain text, or on the retain text alone.

Both see the facts about the world as well, where the corpus has them.
"""

import argparse
import json
from pathlib import Path

import torch

from relapse.corpora.corpus import WORLD
from relapse.corpora.muse import read_folder
from relapse.models.loading import check_vocabulary, import_transformers, load_model, load_tokenizer
from relapse.models.random_base import scale_weights
from relapse.models.saving import save
from relapse.planning import fit, memory
from relapse.runtime.errors import exit_on_error
from relapse.runtime.progress import Progress, Stopwatch
from relapse.runtime.seeds import seed_for
from relapse.text.prompts import asked_texts
from relapse.training.fine_tuning import train
from relapse.training.settings import TrainedModel

PARTS = {"target": ("forget", "retain1", "retain2", WORLD), "retrain": ("retain1", "retain2", WORLD)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="models.target or .retrain, as JSON")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--model", choices=PARTS, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--compute", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--timings", type=Path, help="where to write how long the parts took, as JSON")
    args = parser.parse_args()
    stopwatch = Stopwatch()
    with stopwatch.part("imports"):
        import_transformers()
    settings = TrainedModel.of(args.settings)
    corpus = read_folder(args.corpus)
    raw = corpus.raw
    # Overlapping parts (corpus option retain_overlap) are trained on once.
    texts = list(dict.fromkeys(text for part in PARTS[args.model] for text in raw.get(part, ())))
    if shape := fit.architecture(args.base):
        needed = memory.training(shape, settings, fit.WIDTH[args.compute], torch.cuda.is_available())
        fit.require(needed, f"training {args.model}", "Lower batch_size or max_length, or use compute: bfloat16.")
    with stopwatch.part("load"):
        model = load_model(args.base, getattr(torch, args.compute))
        tokenizer = load_tokenizer(args.base, asked_texts(corpus))
    check_vocabulary(model, tokenizer, args.base, texts)
    progress = Progress(settings.steps)
    with stopwatch.part("training"):
        train(
            model,
            tokenizer,
            texts,
            settings,
            seed_for(args.seed, args.model),
            lambda step, loss: progress(step, loss=loss),
        )
    if settings.weight_scale != 1:
        scale_weights(model, settings.weight_scale)
    stopwatch.write(args.timings)
    save(
        model,
        tokenizer,
        args.out,
        {"settings": settings.plain(), "seed": args.seed, "texts": len(texts), "history": progress.history},
    )


if __name__ == "__main__":
    exit_on_error(main)
