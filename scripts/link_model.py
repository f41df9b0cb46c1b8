"""A model that is not trained here: link a local folder, a pinned Hub snapshot or a package's model into the results.

Weights that are not stored in bfloat16 are copied and rounded to it, so that every variant starts from the same values.
"""

import argparse
import json
import shutil
from pathlib import Path

from relapse.models import bfloat16_copy, package, stored
from relapse.models.files import MODEL_FILES, origin_files
from relapse.models.settings import HubModel, LocalModel, PackageModel, made_elsewhere
from relapse.quantization import TOKENIZER_FILES
from relapse.runtime.errors import RelapseError, exit_on_error
from relapse.runtime.hub import snapshot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the model's config entry, as JSON")
    parser.add_argument("--as-stored", action="store_true", help="link weights of any number format as they are")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    settings = made_elsewhere(args.settings)
    if isinstance(settings, LocalModel):
        origin = Path(settings.path)
    elif isinstance(settings, PackageModel):
        origin = package.converted(settings)
    else:
        origin = snapshot(settings.id, settings.revision, MODEL_FILES)
    stored.check(origin)  # raises where a shard is missing or cut short, and for other weights than the model's
    files = origin_files(origin)
    if isinstance(settings, HubModel) and (elsewhere := settings.tokenizer):
        names = [name for name in TOKENIZER_FILES if not (origin / name).exists()]
        tokenizer = snapshot(elsewhere.id, elsewhere.revision, names)
        files += [tokenizer / name for name in names if (tokenizer / name).exists()]
    if args.out.exists():
        raise RelapseError(f"{args.out} is there already: delete it first")
    # Made whole beside its place and then renamed, so that what lies there is never half a model.
    part = args.out.with_name(f"{args.out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    rounded = {} if args.as_stored else bfloat16_copy.to_round(files)
    bfloat16_copy.require_room(list(rounded), part)
    saved = 0
    for file, formats in rounded.items():
        print(f"{file.name}: {' and '.join(formats)} rounded to bfloat16", flush=True)
        saved += bfloat16_copy.write_rounded(file, part / file.name)
    for file in files:
        if rounded and file.name == "config.json":
            bfloat16_copy.write_config(file, part / file.name)
        elif rounded and file.name == bfloat16_copy.INDEX:
            bfloat16_copy.write_index(file, part / file.name, saved)
        elif file not in rounded:
            (part / file.name).symlink_to(file.resolve())
    part.rename(args.out)
    print(f"linked {len(files) - len(rounded)} files of {origin}" + (f", copied {len(rounded)}" if rounded else ""))


if __name__ == "__main__":
    exit_on_error(main)
