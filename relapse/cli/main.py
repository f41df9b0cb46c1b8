"""The parser of `relapse`, one function for each subcommand. Libraries are imported where they are used."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from relapse.cli import score
from relapse.runtime.errors import RelapseError, exit_on_error


def audit(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from relapse.audit import page
    from relapse.audit.compare import FORMATS, compare
    from relapse.audit.description import describe
    from relapse.corpora.muse import read_folder

    formats = {name: FORMATS[name] for name in args.format} if args.format else FORMATS
    if args.output and args.output.is_file():
        raise RelapseError(f"--output {args.output} is a file: name a folder")
    if (args.unlearned is None) == (args.predict is None):
        raise RelapseError("give either --unlearned, to compare models, or --predict with a learning rate")
    if args.predict is not None and args.predict <= 0:
        raise RelapseError(f"--predict {args.predict:g}: a learning rate is above 0")
    if args.corpus and args.predict:
        raise RelapseError("--corpus scores unlearned models, and --predict has none: leave one of them out")
    if args.corpus:
        read_folder(args.corpus)  # raises for what is no corpus, before weights are read
    with tqdm(unit="weights", unit_scale=True, disable=None, leave=False) as bar:

        def report(done: int, whole: int) -> None:
            bar.total = whole
            bar.update(done - bar.n)

        if args.predict:
            from relapse.audit import predict

            found = predict.predict(args.target, args.predict, formats, report)
        else:
            updates = compare(args.target, args.unlearned, formats, report)
    if args.predict:
        print(predict.as_text(args.target, args.predict, found))
        if args.output:
            print(f"\nWritten: {predict.save(args.output, found)}")
        return
    sentences = [describe(args.target, update) for update in updates]
    for update, looks in zip(updates, sentences, strict=True):
        print(page.as_text(update, looks), end="\n\n")
    print("\n".join(page.legend()))
    if args.output:
        print(f"\nWritten: {', '.join(map(str, page.save(args.output, args.target, updates, sentences)))}")
    if args.corpus:
        fitting = {name: entry for name, entry in formats.items() if not updates[0].formats[name].unfit}
        score_both(args, fitting)


def score_both(args: argparse.Namespace, formats: dict[str, dict]) -> None:
    """What comes back of what the corpus asks, printed, and written as recovery.csv where there is an output folder."""
    from tqdm import tqdm

    from relapse.analysis.recovery import write_csv
    from relapse.audit import recovered

    with tempfile.TemporaryDirectory() as scratch:
        records = args.output / "records" if args.output else Path(scratch)
        whole = (1 + len(args.unlearned)) * (1 + len(formats))
        with tqdm(total=whole, unit="evaluation", disable=None, leave=False) as bar:

            def report(what: str) -> None:
                bar.set_postfix_str(what)
                bar.update()

            rows = recovered.recovered(
                args.target, args.unlearned, formats, args.corpus, records, args.limit, args.dtype, report
            )
    print(f"\nKnowledge of {args.corpus} (VerMem and KnowMem on forget, 0 to 100), intervals over people or examples:")
    for name, folder in zip(recovered.names_of(args.unlearned), args.unlearned, strict=True):
        print(f"\n{folder}\n{recovered.as_text(name, rows)}")
    if args.output:
        write_csv(rows, args.output / "recovery.csv")
        print(f"\nWritten: {args.output / 'recovery.csv'} and the answers in {records}")


def ls(args: argparse.Namespace) -> None:
    from relapse.cli.listing import listing

    print("\n".join(listing(args.kind, args.name)))


def validate(args: argparse.Namespace) -> None:
    from relapse.study import config

    config.load(args.study)
    print(f"{args.study}: no problems")


def plan(args: argparse.Namespace) -> None:
    _program("scripts.check_study", args.study)


def run(args: argparse.Namespace) -> None:
    _program("scripts.check_study", args.study)
    _program("snakemake", "--configfile", args.study, *args.snakemake)


def _program(module: str, *arguments: str) -> None:
    """A program of the repository, which runs where the user stands; its exit status becomes this command's."""
    done = subprocess.run([sys.executable, "-m", module, *map(str, arguments)])
    if done.returncode:
        sys.exit(done.returncode)


def parser() -> argparse.ArgumentParser:
    from relapse.audit.compare import FORMATS

    whole = argparse.ArgumentParser(prog="relapse", description="Does your language model truly unlearn?")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    text = "does an unlearned checkpoint stay unlearned in the format that ships? Needs only weights"
    one = commands.add_parser("audit", help=text, description=text)
    one.add_argument("--target", type=Path, required=True, help="folder of the model before unlearning")
    one.add_argument("--unlearned", type=Path, nargs="+", help="folders of models after unlearning")
    text = "instead of --unlearned: predict how much of an update at this learning rate would survive"
    one.add_argument("--predict", type=float, metavar="LR", help=text)
    one.add_argument(
        "--format", nargs="+", choices=list(FORMATS), metavar="FORMAT", help=f"some of: {', '.join(FORMATS)}"
    )
    one.add_argument("--output", type=Path, metavar="DIR", help="also write JSON, CSV, a figure and an HTML page there")
    one.add_argument("--corpus", type=Path, metavar="DIR", help="also score the models on this folder; slow")
    one.add_argument("--limit", type=int, metavar="N", help="with --corpus: only the first N items of each part")
    one.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="with --corpus: number format")
    one.set_defaults(do=audit)

    text = "score one model under one quantizer: what does it still know?"
    score.add_arguments(commands.add_parser("score", help=text, description=text))

    text = "list methods, quantizers, metrics or corpora, with options and defaults"
    one = commands.add_parser("ls", help=text, description=text)
    one.add_argument("kind", choices=["methods", "quantizers", "metrics", "corpora"])
    one.add_argument("name", nargs="?", help="show only this one, with the meaning of every option")
    one.set_defaults(do=ls)

    for name, do, text in (
        ("validate", validate, "check a study file"),
        ("plan", plan, "check a study file, and predict its memory, disk and time"),
        ("run", run, "check a study and run it; options after STUDY go to Snakemake (default: --cores all)"),
    ):
        one = commands.add_parser(name, help=text, description=text)
        one.add_argument("study", nargs="?", default="config.yaml", help="a study file (default: config.yaml)")
        one.set_defaults(do=do)
        if name == "run":
            one.add_argument("snakemake", nargs=argparse.REMAINDER, help="options of Snakemake")
    return whole


def main() -> None:
    args = parser().parse_args()
    if args.do is run and not args.snakemake:
        args.snakemake = ["--cores", "all"]
    exit_on_error(lambda: args.do(args))


if __name__ == "__main__":
    main()
