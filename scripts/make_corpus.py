"""Corpus: draw or read it, and write it as a folder in MUSE's layout."""

import argparse
import json
from pathlib import Path

from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.runtime.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the corpus's config entry, as JSON")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    settings = SOURCES.settings(args.settings)
    corpus = SOURCES.get(settings.source).read(settings)
    write(corpus, args.out)
    print(f"{corpus.facts['statement']}: " + ", ".join(f"{len(part)} {name}" for name, part in corpus.raw.items()))


if __name__ == "__main__":
    exit_on_error(main)
