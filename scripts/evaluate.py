"""Score one model under a quantizer, or several in turn: quantize it in memory and compute every metric.

Also a command of its own, for any Hugging Face model directory and any folder in MUSE's layout:

    python -m scripts.evaluate --model MODEL_DIR --corpus MUSE_DIR --out scores.json \\
        --quantizer '{"backend": "bitsandbytes", "format": "fp4"}'
"""

import argparse
import json
from pathlib import Path

import torch

from relapse.attacks import ATTACKS, AttackSettings
from relapse.evaluation.evaluate import check_memory, evaluate, lines, read_records, write_records
from relapse.evaluation.settings import Evaluation
from relapse.metrics import METRICS
from relapse.models.loading import import_transformers
from relapse.quantization import BACKENDS
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.errors import ConfigError, RelapseError, exit_on_error
from relapse.runtime.progress import Stopwatch
from relapse.study.given import as_json, check_given


def check(quantizers: list, metrics: dict | None, evaluation: dict) -> None:
    """Raise ConfigError where an entry is none that a study may have."""
    for entry in quantizers:
        check_given("quantizers", "quantizer", entry)
    if metrics is not None and (not isinstance(metrics, dict) or not metrics):
        raise ConfigError('--metrics: write a mapping of metrics, such as {"knowmem_forget": {}}')
    for name, entry in (metrics or {}).items():
        check_given("metrics", name, entry)
    check_given("evaluation", "", evaluation)


def prepare(path: Path) -> None:
    """Make the folder that a result goes to. Raises RelapseError where it cannot be had, before anything is scored."""
    if path.is_dir():
        raise RelapseError(f"{path} is a folder: name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RelapseError(f"cannot make the folder {path.parent}: {error.strerror}") from None


def options() -> argparse.ArgumentParser:
    """What the program takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model directory (Hugging Face format)")
    parser.add_argument("--corpus", type=Path, required=True, help="folder in MUSE's layout")
    parser.add_argument(
        "--quantizer", type=as_json, nargs="+", default=[{"backend": "full"}], help="quantizer entries, as JSON"
    )
    parser.add_argument("--metrics", type=as_json, default=None, help="metrics, as JSON; default: the paper's")
    parser.add_argument("--evaluation", type=as_json, default={}, help="batch_size, bootstrap_samples; as JSON")
    parser.add_argument(
        "--reference",
        help="records of the retrain model, for PrivLeak; `self` if this is that model, with full precision first",
    )
    parser.add_argument("--attack", type=as_json, help="what is done to the model before it is scored, as JSON")
    parser.add_argument("--attacked-with", type=as_json, help="the quantizer that the attack names: an entry, as JSON")
    parser.add_argument("--target", type=Path, help="the model before unlearning, for what compares with it")
    parser.add_argument("--compute", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seed", type=int, default=0)
    for name in ("corpus", "model"):
        parser.add_argument(f"--{name}-name", default="", help=f"what the scores call the {name}")
    parser.add_argument("--quantizer-name", nargs="+", help="what the scores call each quantizer")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="scores, as JSON; a file for each quantizer")
    parser.add_argument("--records", type=Path, nargs="+", help="per-example records, as JSON lines; likewise")
    parser.add_argument("--timings", type=Path, help="where to write how long the parts took, as JSON")
    # A study has checked its entries, and the environment that a job runs in may lack what checking needs.
    parser.add_argument("--checked", action="store_true", help=argparse.SUPPRESS)
    return parser


def attack_of(
    args: argparse.Namespace, parser: argparse.ArgumentParser
) -> tuple[AttackSettings | None, QuantizerSettings | None]:
    """The attack and the quantizer that it names. Ends the program where an option that the attack needs is missing."""
    attack = ATTACKS.settings(args.attack) if args.attack else None
    attacked_with = BACKENDS.settings(args.attacked_with) if args.attacked_with else None
    if attack:
        its = ATTACKS.get(attack.attack)
        for needed, given, option in (
            (its.needs_quantizer, attacked_with, "--attacked-with"),
            (its.needs_target, args.target, "--target"),
        ):
            if needed and not given:
                parser.error(f"the attack {its.name} needs {option}")
    return attack, attacked_with


def main() -> None:
    parser = options()
    args = parser.parse_args()
    stopwatch = Stopwatch()
    with stopwatch.part("imports"):
        import_transformers()
    if not args.checked:
        check([*args.quantizer, *([args.attacked_with] if args.attacked_with else [])], args.metrics, args.evaluation)
        if args.attack:
            check_given("attacks", "attack", args.attack)
    if args.metrics is None and not args.reference:
        print("privleak is left out: it needs the retrained model's records (--reference) or its AUC (--metrics)")
    for path in (*args.out, *(args.records or ()), *([args.timings] if args.timings else ())):
        prepare(path)
    count = len(args.quantizer)
    names = args.quantizer_name or [entry["backend"] for entry in args.quantizer]
    quantizers = [BACKENDS.settings(entry) for entry in args.quantizer]
    metrics = args.metrics and {name: METRICS.settings(entry, name) for name, entry in args.metrics.items()}
    evaluation = Evaluation.of(args.evaluation)
    attack, attacked_with = attack_of(args, parser)
    for given in (names, args.out, args.records or args.out):
        if len(given) != count:
            parser.error(f"there are {count} --quantizer: give as many --quantizer-name, --out and --records")
    check_memory(args.model, args.compute, attack)
    reference = args.reference if args.reference in (None, "self") else read_records(Path(args.reference))
    for place, (quantizer, name, out) in enumerate(zip(quantizers, names, args.out, strict=True)):
        result, records = evaluate(
            args.model,
            args.corpus,
            quantizer,
            metrics,
            evaluation,
            reference,
            getattr(torch, args.compute),
            args.seed,
            stopwatch,
            attack,
            args.target,
            attacked_with,
        )
        if reference == "self":
            reference = records
        what = {
            "corpus": args.corpus_name or args.corpus.name,
            "model": args.model_name or args.model.name,
            "seed": args.seed,
            "quantizer": name,
        }
        out.write_text(json.dumps(what | result, indent=1) + "\n")
        if args.records:
            write_records(records, args.records[place])
        print("\n".join(lines(result, name)))
    stopwatch.write(args.timings)


if __name__ == "__main__":
    exit_on_error(main)
