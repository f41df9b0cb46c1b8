"""Unlearned model: run one method from the target of the same seed, until it has forgotten or for so many steps."""

import argparse
import json
import random
from pathlib import Path
from statistics import fmean

import torch

from relapse.corpora.muse import read_folder
from relapse.metrics import METRICS, Evaluated
from relapse.models.loading import check_vocabulary, import_transformers, load_model, load_tokenizer
from relapse.models.saving import save
from relapse.planning import fit, memory
from relapse.quantization import BACKENDS
from relapse.runtime.batching import BatchSize
from relapse.runtime.errors import exit_on_error
from relapse.runtime.progress import Progress, Stopwatch
from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Settings
from relapse.text.prompts import asked_texts
from relapse.text.windows import concatenated_windows, windows
from relapse.unlearning.answers import forget_windows
from relapse.unlearning.methods import METHODS
from relapse.unlearning.reference import Windows
from relapse.unlearning.settings import MethodSettings
from relapse.unlearning.stopping import StopRule
from relapse.unlearning.storage import STORAGE
from relapse.unlearning.trainer import steps_of, unlearn


def measure(run: Evaluated, metric: str, settings: Settings) -> float:
    """KnowMem forget (M2) or retain (M4) of the model as it is, times 100."""
    training = run.model.training
    run.model.eval()
    score = fmean(record["score"] for record in METRICS.get(metric).records(run, settings))
    run.model.train(training)
    return score


def cut(tokenizer, texts: list[str], settings: MethodSettings, rng: random.Random) -> list[list[int]]:
    """A part of the raw text in windows, as the method's entry asks."""
    if settings.windows == "concatenated":
        return concatenated_windows(tokenizer, texts, settings.max_length)
    return windows(tokenizer, texts, settings.max_length, rng)


def check_memory(target: Path, settings: MethodSettings, compute: str, parts: dict[str, list]) -> None:
    """Raise RelapseError where the run would not fit, with the settings that would."""
    shape = fit.architecture(target)
    if shape is None:
        print(f"{target}: its config.json does not give its shape, so memory cannot be predicted")
        return
    tokens = {part: sum(map(len, windows)) for part, windows in parts.items()}

    on_gpu, width, what = torch.cuda.is_available(), fit.WIDTH[compute], f"unlearning with {settings.method}"

    def predicted(entry: MethodSettings, width: int) -> float:
        return memory.unlearning(shape, entry, width, tokens, on_gpu)

    instead = fit.less_for_unlearning(settings, predicted, width, fit.available(on_gpu))
    fit.require(predicted(settings, width), what, instead)
    if on_gpu and settings.reference == "cache":  # which lies in this machine's memory
        table = memory.reference_table(shape, settings, width, tokens)
        fit.require(table, f"the reference's table of {what}", "Set reference: model, or disk.", False)


def options() -> argparse.ArgumentParser:
    """What the program takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the method's config entry, as JSON")
    parser.add_argument("--name", required=True, help="the entry's name")
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--compute", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--metrics", type=json.loads, default={}, help="the metrics that `stop_at` asks for, as JSON")
    parser.add_argument("--batch-size", type=int, default=32, help="questions in one forward pass, for `stop_at`")
    parser.add_argument("--quantizer", type=json.loads, help="the entry that `quantization_aware` names, as JSON")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--timings", type=Path, help="where to write how long the parts took, as JSON")
    return parser


def main() -> None:
    args = options().parse_args()
    stopwatch = Stopwatch()
    with stopwatch.part("imports"):
        import_transformers()
    settings = METHODS.settings(args.settings)
    corpus = read_folder(args.corpus)
    tokenizer = load_tokenizer(args.target, asked_texts(corpus))
    method = METHODS.get(settings.method)
    forget: Windows
    forget, retain = (
        cut(tokenizer, corpus.raw[part], settings, random.Random(seed_for(args.seed, "windows", part)))
        for part in ("forget", "retain1")
    )
    other: Windows = []
    if method.answers:
        forget, other = forget_windows(tokenizer, corpus, method, settings.max_length, args.seed)
    check_memory(args.target, settings, args.compute, {"forget": forget, "retain": retain})
    with stopwatch.part("load"):
        model = load_model(args.target, getattr(torch, args.compute))
    texts = [*corpus.raw["forget"], *corpus.raw["retain1"], *asked_texts(corpus)]
    check_vocabulary(model, tokenizer, args.target, texts)
    progress = Progress(steps_of(settings, len(forget)))
    run = Evaluated(model, tokenizer, corpus, BatchSize(args.batch_size), args.seed)
    asked = {name: METRICS.settings(entry, name) for name, entry in args.metrics.items()}
    rule = StopRule(settings.stop_at, lambda metric: measure(run, metric, asked[metric]))
    with stopwatch.part("training"):
        done = unlearn(
            model,
            forget,
            retain,
            method,
            settings,
            args.seed,
            lambda step, forget_loss, retain_loss, clip: progress(
                step, forget=forget_loss, retain=retain_loss, clip=clip
            ),
            rule,
            other,
            BACKENDS.settings(args.quantizer) if args.quantizer else None,
        )
        ended = rule.ended()
    shares = "".join(f", {metric} {100 * share:.0f} % of the target's" for metric, share in ended["shares"].items())
    print(f"{args.name} ended after {done['steps']} steps by {ended['stopped_by']}{shares}")
    stopwatch.write(args.timings)
    save(
        model,
        tokenizer,
        args.out,
        {"settings": settings.plain(), "seed": args.seed} | done | ended | {"history": progress.history},
        STORAGE[settings.storage],
    )


if __name__ == "__main__":
    exit_on_error(main)
