"""Check a study file before Snakemake reads it: Snakemake's own words for a file with a YAML error name no line."""

import argparse

from relapse import config
from relapse.errors import exit_on_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="config.yaml, or a file for --configfile")
    args = parser.parse_args()
    study = config.load(args.study)
    models = len(study["corpora"]) * len(study["seeds"]) * (len(study["methods"]) + len(study["models"]) - 1)
    print(
        f"study {study['study']}: {models} models x {len(study['quantizers'])} quantizers, "
        f"{len(study['metrics'])} metrics"
    )


if __name__ == "__main__":
    exit_on_error(main)
