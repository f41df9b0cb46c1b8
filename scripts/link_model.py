"""A model that is not trained here: link a local folder, a pinned Hub snapshot or a package's model into the results.

Weights that are not stored in bfloat16 are copied and rounded to it, so that every variant starts from the same values.
"""

import argparse
import json
from pathlib import Path

from relapse.models import stored
from relapse.models.files import origin_files
from relapse.models.linking import appears_whole, link, origin_of
from relapse.models.settings import HubModel, made_elsewhere
from relapse.quantization import TOKENIZER_FILES
from relapse.runtime.errors import exit_on_error
from relapse.runtime.hub import snapshot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the model's config entry, as JSON")
    parser.add_argument("--as-stored", action="store_true", help="link weights of any number format as they are")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    settings = made_elsewhere(args.settings)
    origin = origin_of(settings)
    stored.check(origin)  # raises where a shard is missing or cut short, and for other weights than the model's
    files = origin_files(origin)
    if isinstance(settings, HubModel) and (elsewhere := settings.tokenizer):
        names = [name for name in TOKENIZER_FILES if not (origin / name).exists()]
        tokenizer = snapshot(elsewhere.id, elsewhere.revision, names)
        files += [tokenizer / name for name in names if (tokenizer / name).exists()]
    with appears_whole(args.out) as folder:
        link(files, folder, args.as_stored)


if __name__ == "__main__":
    exit_on_error(main)
