"""A model that is not trained here: link a local directory or a pinned Hub snapshot into the results."""

import argparse
import json
import shutil
from pathlib import Path

from relapse.errors import RelapseError, exit_on_error
from relapse.hub import snapshot
from relapse.model_files import MODEL_FILES, tensor_shapes
from relapse.quantization import TOKENIZER_FILES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the model's config entry, as JSON")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.settings["source"] == "local":
        origin = Path(args.settings["path"])
    else:
        origin = snapshot(args.settings["id"], args.settings["revision"], MODEL_FILES)
    files = sorted(file for pattern in MODEL_FILES for file in origin.glob(pattern))
    if elsewhere := args.settings.get("tokenizer"):
        names = [name for name in TOKENIZER_FILES if not (origin / name).exists()]
        tokenizer = snapshot(elsewhere["id"], elsewhere["revision"], names)
        files += [tokenizer / name for name in names if (tokenizer / name).exists()]
    if not any(file.suffix == ".safetensors" for file in files):
        raise RelapseError(f"{origin} holds no .safetensors weights")
    tensor_shapes(origin)  # raises where a shard is missing or cut short
    if args.out.exists():
        raise RelapseError(f"{args.out} is there already: delete it first")
    # Made whole beside its place and then renamed, so that what lies there is never half a model.
    part = args.out.with_name(f"{args.out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for file in files:
        (part / file.name).symlink_to(file.resolve())
    part.rename(args.out)
    print(f"linked {len(files)} files of {origin}")


if __name__ == "__main__":
    exit_on_error(main)
