"""An unlearned model that was made elsewhere: linked into the results, an adapter merged into the target first.

Before anything is scored it is checked to be another version of the study's target: the same weights by name and
shape, the same tokens, finite, not quantized, and not equal to the target.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from relapse.models import adapter, matching, stored
from relapse.models.files import origin_files
from relapse.models.linking import appears_whole, link, origin_of
from relapse.models.tokenizer import TOKENIZERS
from relapse.planning.merging import merge
from relapse.quantization import TOKENIZER_FILES
from relapse.runtime.errors import exit_on_error
from relapse.unlearning.elsewhere import MadeElsewhere, settings_of

# training.json of a model that no run of this study has made: how its run ended is not known.
NO_RUN: dict[str, Any] = {"steps": None, "stopped_by": None, "unmet": [], "shares": {}}


def link_whole(origin: Path, target: Path, folder: Path, settings: MadeElsewhere) -> None:
    """Link a folder with whole weights, with the target's tokenizer where it has none."""
    stored.check(origin)
    matching.must_have_shapes(target, origin)
    files = [file for file in origin_files(origin) if file.name != "training.json"]
    if not any((origin / name).is_file() for name in TOKENIZERS):
        files += [target / name for name in TOKENIZER_FILES if (target / name).is_file()]
    link(files, folder, settings.as_stored)
    facts = {"settings": settings.plain(), "origin": str(origin)} | NO_RUN
    (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def merged(origin: Path, target: Path, folder: Path, settings: MadeElsewhere) -> None:
    """Write the target with an adapter merged into it."""
    dtype = torch.float32 if settings.as_stored else torch.bfloat16
    merge(origin, target, folder, {"settings": settings.plain()} | NO_RUN, dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the method's config entry, as JSON")
    parser.add_argument("--target", type=Path, required=True, help="the study's model before unlearning")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    settings = settings_of(args.settings)
    assert isinstance(settings, MadeElsewhere)  # as every entry of this rule
    origin = origin_of(settings)
    matching.must_have_tokens(args.target, origin)
    with appears_whole(args.out) as folder:
        (merged if adapter.is_adapter(origin) else link_whole)(origin, args.target, folder, settings)
        matching.must_differ(args.target, folder, origin)


if __name__ == "__main__":
    exit_on_error(main)
