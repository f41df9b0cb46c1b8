"""Score one model under one quantizer: quantize it in memory and compute every metric.

Also a command of its own, for any Hugging Face model directory and any folder in MUSE's layout:

    python -m scripts.evaluate --model MODEL_DIR --corpus MUSE_DIR --out scores.json \\
        --quantizer '{"backend": "bitsandbytes", "format": "fp4"}'
"""

import argparse
import json
from pathlib import Path

import torch

from relapse import models
from relapse.errors import exit_on_error
from relapse.evaluation import evaluate, read_records, write_records
from relapse.progress import Stopwatch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model directory (Hugging Face format)")
    parser.add_argument("--corpus", type=Path, required=True, help="folder in MUSE's layout")
    parser.add_argument("--quantizer", type=json.loads, default={"backend": "full"}, help="quantizer entry, as JSON")
    parser.add_argument("--metrics", type=json.loads, default=None, help="metrics, as JSON; default: the paper's")
    parser.add_argument("--evaluation", type=json.loads, default={}, help="batch_size, bootstrap_samples; as JSON")
    parser.add_argument("--reference", help="records of the retrain model, for PrivLeak; `self` if this is that model")
    parser.add_argument("--compute", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seed", type=int, default=0)
    for name in ("corpus", "model", "quantizer"):
        parser.add_argument(f"--{name}-name", default="", help=f"what the scores call the {name}")
    parser.add_argument("--out", type=Path, required=True, help="scores, as JSON")
    parser.add_argument("--records", type=Path, help="per-example records, as JSON lines")
    parser.add_argument("--timings", type=Path, help="where to write how long the parts took, as JSON")
    args = parser.parse_args()
    stopwatch = Stopwatch()
    with stopwatch.part("imports"):
        models.import_transformers()
    result, records = evaluate(
        args.model,
        args.corpus,
        args.quantizer,
        args.metrics,
        args.evaluation,
        read_records(Path(args.reference)) if args.reference not in (None, "self") else args.reference,
        getattr(torch, args.compute),
        args.seed,
        stopwatch,
    )
    stopwatch.write(args.timings)
    names = {
        "corpus": args.corpus_name or args.corpus.name,
        "model": args.model_name or args.model.name,
        "seed": args.seed,
        "quantizer": args.quantizer_name or args.quantizer["backend"],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(names | result, indent=1) + "\n")
    if args.records:
        write_records(records, args.records)
    for metric, score in result["scores"].items():
        print(f"{metric:16} {score['value']:7.1f}  [{score['ci_low']:.1f}, {score['ci_high']:.1f}]  n = {score['n']}")


if __name__ == "__main__":
    exit_on_error(main)
