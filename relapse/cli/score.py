"""`relapse score`: one checkpoint under one quantizer, and what it still knows."""

import argparse
import json
from pathlib import Path

from relapse.runtime.errors import ConfigError, RelapseError


def score(args: argparse.Namespace) -> None:
    """Score, print a line for each metric, and write results.json and samples.jsonl where asked."""
    from relapse.cli.entries import asked_in, metric, quantizer
    from relapse.evaluation.settings import Evaluation
    from relapse.study.config import check_entry

    settings = quantizer(args.quantizer)
    metrics = dict(map(metric, args.metrics)) if args.metrics else None
    left_out = metrics is None and args.reference is None
    if args.prompt is not None:
        metrics = asked_in(args.prompt, metrics, ["privleak"] if left_out else [])
    check_entry("evaluation", "", {"batch_size": args.batch_size})
    evaluation = Evaluation(batch_size=args.batch_size)
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit is {args.limit}, must be at least 1")
    if args.log_samples and not args.output:
        raise ConfigError("--log-samples writes the answers to a file: give --output DIR")
    if args.output and args.output.is_file():
        raise RelapseError(f"--output {args.output} is a file: name a folder")

    import torch

    from relapse.evaluation.evaluate import check_memory, evaluate, lines, read_records, write_records
    from relapse.models.adapter import is_adapter
    from relapse.planning.merging import whole

    if args.base and not is_adapter(args.model):
        raise ConfigError(
            f"--base is what an adapter is merged into, and {args.model} is no adapter alone: leave it out"
        )
    reference = args.reference if args.reference in (None, "self") else read_records(Path(args.reference))
    if left_out:
        print("privleak is left out: it needs the retrained model's samples (--reference)")
    with whole([args.model], args.base) as (folder,):
        check_memory(folder, args.dtype)
        result, records = evaluate(
            folder,
            args.corpus,
            settings,
            metrics,
            evaluation,
            reference,
            getattr(torch, args.dtype),
            args.seed,
            limit=args.limit,
        )
    print("\n".join(lines(result, args.quantizer.split(",")[0])))
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        what = {"model": str(args.model), "corpus": str(args.corpus), "seed": args.seed}
        (args.output / "results.json").write_text(json.dumps(what | result, indent=1) + "\n", encoding="utf-8")
        if args.log_samples:
            write_records(records, args.output / "samples.jsonl")
        print(f"Written: {args.output / 'results.json'}" + (f", {args.output / 'samples.jsonl'}" * args.log_samples))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `relapse score`."""
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="model folder, or an adapter's (LoRA)")
    parser.add_argument("--base", type=Path, metavar="DIR", help="what an adapter belongs to; default: what it names")
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="folder in MUSE's layout")
    parser.add_argument(
        "--quantizer", default="full", metavar="NAME[,KEY=VALUE...]", help="such as nf4, or rtn,bits=4,group_size=128"
    )
    parser.add_argument("--metrics", nargs="+", metavar="NAME[,KEY=VALUE...]", help="default: the paper's M1 to M4")
    parser.add_argument(
        "--prompt", metavar="WORDING", help="how KnowMem asks: plain, chat, or a text that holds {question}"
    )
    parser.add_argument("--reference", metavar="FILE", help="samples of the retrained model, for PrivLeak; or self")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write results.json there")
    parser.add_argument("--log-samples", action="store_true", help="also write every answer, to samples.jsonl")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N items of each part; for trying")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(do=score)
