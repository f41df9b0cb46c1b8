"""Speed as ratios: unlearning step, SURE's saliency and evaluation against plain versions of the same computation.

The plain versions are written out here as one would write them first; both sides run in turn in this process, on the
default study's corpus and model size with random weights (speed does not depend on what the weights are, except
that an untrained model never ends an answer early: both sides generate every token).
"""

import argparse
import copy
import random
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from relapse.corpora import SOURCES
from relapse.metrics.generation import generate
from relapse.metrics.knowmem import KnowMemSettings, asked
from relapse.models.random_base import build_base, train_tokenizer
from relapse.models.settings import RandomModel
from relapse.runtime.batching import BatchSize
from relapse.runtime.errors import ConfigError, exit_on_error
from relapse.study import config
from relapse.text.windows import Tokens, windows
from relapse.text.wording import renderer
from relapse.unlearning import saliency
from relapse.unlearning.losses import sequence_log_probs
from relapse.unlearning.methods import METHODS, Side
from relapse.unlearning.reference import Reference
from relapse.unlearning.settings import MethodSettings
from relapse.unlearning.step import losses_of_step
from relapse.unlearning.storage import store

REPEATS = 15


def padded(model, batch) -> Tokens:
    """`relapse.text.windows.predict` with all windows padded to the longest one, and an attention mask."""
    width = max(map(len, batch))
    input_ids = torch.tensor([window + [0] * (width - len(window)) for window in batch])
    mask = torch.tensor([[1] * len(window) + [0] * (width - len(window)) for window in batch])
    real = mask[:, 1:].bool()
    logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
    return Tokens(logits[:, :-1][real].float(), input_ids[:, 1:][real], real.nonzero()[:, 0], len(batch))


def plain_losses(model, reference, forget, retain, method, settings):
    """Both losses with separate forward passes, the reference model run on every batch."""

    def side(batch):
        with torch.no_grad():
            theirs = padded(reference, batch)
        return Side(padded(model, batch), sequence_log_probs(theirs), theirs.logits)

    forget_loss = method.forget(side(forget), settings)
    return forget_loss, method.retain(side(retain), settings) if method.constrained else torch.zeros(())


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def bench_steps(model, tokenizer, corpus, entries: dict[str, MethodSettings]) -> None:
    """Time a step of every method both ways, and check that the losses agree."""
    print("unlearning step: ms plain, ms ours, ratio; share of ours in losses and gradients / optimiser / storage")
    target = copy.deepcopy(model).requires_grad_(False)
    for name, settings in entries.items():
        method = METHODS.get(settings.method)
        forget, retain = (
            windows(tokenizer, corpus.raw[part], settings.max_length, random.Random(0))
            for part in ("forget", "retain1")
        )
        ours = copy.deepcopy(target).requires_grad_(True)
        reference = Reference(target, forget, retain, method, settings)
        parameters = list(ours.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0, fused=True)
        rng = random.Random(0)

        def gradients(losses, method=method, settings=settings, optimizer=optimizer):
            optimizer.zero_grad(set_to_none=True)
            (losses[0] + (settings.alpha if method.constrained else 0.0) * losses[1]).backward()

        plain, fast, update, rounding = [], [], [], []
        for _ in range(REPEATS):
            chosen = rng.sample(range(len(forget)), settings.batch_size)
            paired = rng.sample(range(len(retain)), settings.batch_size)
            pairs = list(zip(chosen, paired, strict=True))
            sides = [forget[i] for i in chosen], [retain[i] for i in paired]
            kept: dict[str, tuple] = {}

            def run_plain(sides=sides, kept=kept, ours=ours, method=method, settings=settings, gradients=gradients):
                kept["plain"] = plain_losses(ours, target, sides[0], sides[1], method, settings)
                gradients(kept["plain"])

            def run_fast(
                pairs=pairs,
                kept=kept,
                ours=ours,
                method=method,
                settings=settings,
                gradients=gradients,
                reference=reference,
            ):
                kept["fast"] = losses_of_step(ours, method, settings, reference, pairs)
                gradients(kept["fast"])

            plain.append(seconds(run_plain))
            fast.append(seconds(run_fast))
            update.append(seconds(optimizer.step))
            rounding.append(seconds(partial(store, parameters, settings.storage)))
            for left, right in zip(kept["plain"], kept["fast"], strict=True):
                torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)
        parts = [statistics.median(times) * 1000 for times in (plain, fast, update, rounding)]
        rest = parts[2] + parts[3]
        whole = parts[1] + rest
        print(
            f"  {name:10} {parts[0] + rest:7.1f} {whole:7.1f} {(parts[0] + rest) / whole:6.2f}x"
            f"   {parts[1] / whole:4.0%} / {parts[2] / whole:4.0%} / {parts[3] / whole:4.0%}",
            flush=True,
        )


def bench_saliency(model, settings: saliency.Sure) -> None:
    """Time SURE's row mask against a dictionary of rows, and check that both keep the same gradients."""
    generator = torch.Generator().manual_seed(0)
    weights = saliency.eligible(model, settings)
    forget, total = ([torch.randn(w.shape, generator=generator) for w in weights.values()] for _ in range(2))
    masked = {"plain": [t.clone() for t in total], "fast": [t.clone() for t in total]}

    def by_row() -> None:
        norms = {
            (name, row): gradient[row].norm().item()
            for name, gradient in zip(weights, forget, strict=True)
            for row in range(len(gradient))
        }
        least = np.percentile(list(norms.values()), settings.percentile)
        for name, gradient in zip(weights, masked["plain"], strict=True):
            for row in range(len(gradient)):
                if norms[name, row] < least:
                    gradient[row] = 0

    plain = statistics.median(seconds(by_row) for _ in range(REPEATS))
    fast = statistics.median(
        seconds(lambda: saliency.mask_rows(forget, masked["fast"], settings.percentile)) for _ in range(REPEATS)
    )
    for left, right in zip(masked["plain"], masked["fast"], strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)
    rows = sum(map(len, forget))
    print(
        f"SURE's row mask, {rows} rows: a dictionary of rows {1000 * plain:.1f} ms, ours {1000 * fast:.2f} ms, "
        f"ratio {plain / fast:.0f}x, same gradients"
    )


def bench_generation(model, tokenizer, corpus, settings: KnowMemSettings, batch_size: int) -> None:
    """Time the forget questions both ways, and check that every token is the same."""
    questions = asked(corpus.knowmem, "forget", settings, renderer(tokenizer)).prompts
    new_tokens = settings.max_new_tokens

    def one_at_a_time() -> list[str]:
        texts = []
        for prompt in questions:
            ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
            with torch.inference_mode():
                out = model.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, do_sample=False
                )
            texts.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
        return texts

    texts: dict[str, list[str]] = {}
    plain = seconds(lambda: texts.update(plain=one_at_a_time()))
    fast = seconds(lambda: texts.update(fast=generate(model, tokenizer, questions, new_tokens, BatchSize(batch_size))))
    if texts["plain"] != texts["fast"]:
        raise SystemExit("error: batched generation gave other tokens than one-at-a-time generation")
    print(
        f"evaluation, {len(questions)} questions x {new_tokens} tokens: one at a time {plain:.1f} s, "
        f"batched with a shared prompt {fast:.1f} s, ratio {plain / fast:.1f}x, same tokens"
    )


def subject(description: str) -> tuple:
    """What is timed: a study, its corpus, and a model of its size with random weights and tokenizer; on one thread."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="config.yaml")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = config.load(args.config)
    entry = next(entry for entry in study.corpora.values())
    base = study.models.base
    if not isinstance(base, RandomModel):
        raise ConfigError(f"models.base of {args.config} must have source: random, since its size is what is timed")
    corpus = SOURCES.get(entry.source).read(entry)
    tokenizer = train_tokenizer([text for part in corpus.raw.values() for text in part], base.architecture.vocab_size)
    return study, corpus, build_base(base.architecture.plain(), base.seed, tokenizer).eval(), tokenizer


def main() -> None:
    study, corpus, model, tokenizer = subject(__doc__)
    bench_generation(model, tokenizer, corpus, study.metrics["knowmem_forget"], study.evaluation.batch_size)
    methods = study.runs()
    bench_saliency(model, next(entry for entry in methods.values() if isinstance(entry, saliency.Sure)))
    # A step of SURE is its base method's, masked.
    plain = {name: entry for name, entry in methods.items() if not isinstance(entry, saliency.Sure)}
    bench_steps(model, tokenizer, corpus, plain)


if __name__ == "__main__":
    exit_on_error(main)
