"""`relapse audit`: does an unlearned checkpoint stay unlearned in the format that ships? From weights alone."""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from relapse.runtime.errors import RelapseError


def audit(args: argparse.Namespace) -> None:
    """Compare models, or predict, and print it; write files where asked."""
    from relapse.audit.compare import FORMATS, must_match
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
    if args.predict:
        predict_one(args, formats)
        return
    from relapse.models.adapter import is_adapter
    from relapse.planning.merging import whole

    must_match(args.target, [folder for folder in args.unlearned if not is_adapter(folder)])  # before any is merged
    with whole(args.unlearned, args.target) as folders:
        compare_all(args, folders, formats)


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """A bar, as a function of the weights that are done and of all."""
    from tqdm import tqdm

    with tqdm(unit="weights", unit_scale=True, disable=None, leave=False) as bar:

        def report(done: int, whole: int) -> None:
            bar.total = whole
            bar.update(done - bar.n)

        yield report


def predict_one(args: argparse.Namespace, formats: dict[str, dict]) -> None:
    """What would survive of an update at the rate of --predict, printed, and written to an output folder."""
    from relapse.audit import predict

    with progress() as report:
        found = predict.predict(args.target, args.predict, formats, report)
    print(predict.as_text(args.target, args.predict, found))
    if args.output:
        print(f"\nWritten: {predict.save(args.output, found)}")


def compare_all(args: argparse.Namespace, folders: Sequence[Path], formats: dict[str, dict]) -> None:
    """What survives of the updates of args.unlearned. folders: where their weights are, with adapters merged."""
    from relapse.audit import page
    from relapse.audit.compare import compare
    from relapse.audit.description import describe

    with progress() as report:
        updates = compare(args.target, folders, formats, report, args.unlearned)
    sentences = [describe(args.target, update) for update in updates]
    for update, looks in zip(updates, sentences, strict=True):
        print(page.as_text(update, looks), end="\n\n")
    print("\n".join(page.legend()))
    if args.output:
        print(f"\nWritten: {', '.join(map(str, page.save(args.output, args.target, updates, sentences)))}")
    if args.corpus:
        fitting = {name: entry for name, entry in formats.items() if not updates[0].formats[name].unfit}
        score_all(args, folders, fitting)


def score_all(args: argparse.Namespace, folders: Sequence[Path], formats: dict[str, dict]) -> None:
    """What comes back of what the corpus asks, printed, and written as recovery.csv where there is an output folder."""
    from tqdm import tqdm

    from relapse.analysis.recovery import write_csv
    from relapse.audit import recovered

    names = recovered.names_of(args.unlearned)
    models = dict(zip(names, folders, strict=True))
    with tempfile.TemporaryDirectory() as scratch:
        records = args.output / "records" if args.output else Path(scratch)
        whole = (1 + len(folders)) * (1 + len(formats))
        with tqdm(total=whole, unit="evaluation", disable=None, leave=False) as bar:

            def report(what: str) -> None:
                bar.set_postfix_str(what)
                bar.update()

            rows = recovered.recovered(
                args.target, models, formats, args.corpus, records, args.limit, args.dtype, report
            )
    print(f"\nKnowledge of {args.corpus} (VerMem and KnowMem on forget, 0 to 100), intervals over people or examples:")
    for name, folder in zip(names, args.unlearned, strict=True):
        print(f"\n{folder}\n{recovered.as_text(name, rows)}")
    if args.output:
        write_csv(rows, args.output / "recovery.csv")
        print(f"\nWritten: {args.output / 'recovery.csv'} and the answers in {records}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `relapse audit`."""
    from relapse.audit.compare import FORMATS

    parser.add_argument("--target", type=Path, required=True, help="folder of the model before unlearning")
    parser.add_argument(
        "--unlearned",
        type=Path,
        nargs="+",
        help="folders of models after unlearning, or of adapters (LoRA) of the target",
    )
    text = "instead of --unlearned: predict how much of an update at this learning rate would survive"
    parser.add_argument("--predict", type=float, metavar="LR", help=text)
    parser.add_argument(
        "--format", nargs="+", choices=list(FORMATS), metavar="FORMAT", help=f"some of: {', '.join(FORMATS)}"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="also write JSON, CSV, a figure and an HTML page there"
    )
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="also score the models on this folder; slow")
    parser.add_argument("--limit", type=int, metavar="N", help="with --corpus: only the first N items of each part")
    text = "with --corpus: number format"
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help=text)
    parser.set_defaults(do=audit)
