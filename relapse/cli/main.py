"""The parser of `relapse`, one function for each subcommand. Libraries are imported where they are used."""

import argparse
import subprocess
import sys

from relapse.cli import audit, score
from relapse.runtime.errors import exit_on_error


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
    whole = argparse.ArgumentParser(prog="relapse", description="Does your language model truly unlearn?")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    text = "does an unlearned checkpoint stay unlearned in the format that ships? Needs only weights"
    audit.add_arguments(commands.add_parser("audit", help=text, description=text))

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
