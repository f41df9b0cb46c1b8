"""A model that is not trained here: link a local directory or a pinned Hub snapshot into the results."""

import argparse
import json
from pathlib import Path

from relapse.errors import RelapseError, exit_on_error

MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def snapshot(repository: str, revision: str) -> Path:
    """Folder of the Hub snapshot, downloaded if need be. Raises RelapseError saying what to do."""
    from huggingface_hub import constants, snapshot_download

    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(MODEL_FILES),
                local_files_only=constants.HF_HUB_OFFLINE,  # then what lies in the cache is all there is
            )
        )
    except Exception as error:  # gated, offline, unknown repository or revision: the user must see which
        raise RelapseError(
            f"cannot download {repository} at revision {revision}: {error}\nCheck id and revision; for a gated model "
            "accept its licence on the Hub and set HF_TOKEN; offline, give a local directory (source: local)."
        ) from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the model's config entry, as JSON")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.settings["source"] == "local":
        origin = Path(args.settings["path"])
    else:
        origin = snapshot(args.settings["id"], args.settings["revision"])
    files = sorted(file for pattern in MODEL_FILES for file in origin.glob(pattern))
    if not any(file.suffix == ".safetensors" for file in files):
        raise RelapseError(f"{origin} holds no .safetensors weights")
    args.out.mkdir(parents=True, exist_ok=True)
    for file in files:
        (args.out / file.name).symlink_to(file.resolve())
    print(f"linked {len(files)} files of {origin}")


if __name__ == "__main__":
    exit_on_error(main)
