"""The parser of `relapse`, one function for each subcommand. Libraries are imported where they are used."""

import argparse
import subprocess
import sys
from pathlib import Path

from relapse.runtime.errors import RelapseError, exit_on_error


def audit(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from relapse.audit import page, predict
    from relapse.audit.compare import FORMATS, compare
    from relapse.audit.description import describe

    formats = {name: FORMATS[name] for name in args.format} if args.format else FORMATS
    if args.output and args.output.is_file():
        raise RelapseError(f"--output {args.output} is a file: name a folder")
    if (args.unlearned is None) == (args.predict is None):
        raise RelapseError("give either --unlearned, to compare models, or --predict with a learning rate")
    if args.predict is not None and args.predict <= 0:
        raise RelapseError(f"--predict {args.predict:g}: a learning rate is above 0")
    with tqdm(unit="weights", unit_scale=True, disable=None, leave=False) as bar:

        def report(done: int, whole: int) -> None:
            bar.total = whole
            bar.update(done - bar.n)

        if args.predict:
            found = predict.predict(args.target, args.predict, formats, report)
        else:
            updates = compare(args.target, args.unlearned, formats, report)
    if args.predict:
        print(predict.as_text(args.target, args.predict, found))
        if args.output:
            print(f"\nWritten: {predict.save(args.output, found)}")
        return
    sentences = [describe(args.target, update) for update in updates]
    for update, said in zip(updates, sentences, strict=True):
        print(page.as_text(update, said), end="\n\n")
    print("\n".join(page.legend()))
    if args.output:
        print(f"\nWritten: {', '.join(map(str, page.save(args.output, args.target, updates, sentences)))}")


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

    said = "does an unlearned checkpoint stay unlearned in the format that ships? From weights alone"
    one = commands.add_parser("audit", help=said, description=said)
    one.add_argument("--target", type=Path, required=True, help="folder of the model before unlearning")
    one.add_argument("--unlearned", type=Path, nargs="+", help="folders of models after unlearning")
    said = "in place of --unlearned: what would survive of an update at this learning rate, from the target alone"
    one.add_argument("--predict", type=float, metavar="LR", help=said)
    one.add_argument("--format", nargs="+", choices=list(FORMATS), metavar="FORMAT", help=f"of: {', '.join(FORMATS)}")
    one.add_argument("--output", type=Path, metavar="DIR", help="also write JSON, CSV, a figure and an HTML page there")
    one.set_defaults(do=audit)

    for name, do, said in (
        ("validate", validate, "check a study file"),
        ("plan", plan, "check a study file, and say what it takes: memory, disk, time"),
        ("run", run, "check a study and run it; what follows STUDY goes to Snakemake (default: --cores all)"),
    ):
        one = commands.add_parser(name, help=said, description=said)
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
