"""Model directories between the main environment and `legacy`, whose transformers 4.51 reads an older config.json.

This module renames the keys that the two versions spell differently. 4.51 would not report them as missing: it would
use its defaults.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from relapse.runtime.errors import RelapseError


@contextmanager
def readable(model_dir: str | Path) -> Iterator[Path]:
    """A temporary folder with links to the model's files and its config.json as transformers 4.51 spells it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for file in Path(model_dir).iterdir():
            if file.is_file() and file.name != "config.json":
                (folder / file.name).symlink_to(file.resolve())
        (folder / "config.json").write_text(json.dumps(older(_config(model_dir))), encoding="utf-8")
        yield folder


def older(config: dict) -> dict:
    """A config.json of transformers 5 as 4.51 spells it; one that is older already is left as it is.

    Raises RelapseError for rotary positions that differ between layers, which 4.51 has no key for.
    """
    rope = config.get("rope_parameters")
    if not rope:
        return config
    if any(isinstance(value, dict) for value in rope.values()):
        raise RelapseError(
            "rope_parameters in config.json differ between layers, which the transformers of AutoAWQ and AutoGPTQ "
            "cannot read: use backend: gptq or awq"
        )
    outside = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    scaling = {key: value for key, value in rope.items() if key not in outside}
    default = scaling.get("rope_type", "default") == "default"
    return config | outside | ({} if default else {"rope_scaling": scaling})


def restore_config(out_dir: str | Path, model_dir: str | Path, quantization: dict) -> None:
    """Write the model's own config.json into a checkpoint that 4.51 has written, with how it is quantized.

    And its generation_config.json, where it has one: an end token may stand in that alone.
    """
    if (own := Path(model_dir) / "generation_config.json").is_file():
        shutil.copyfile(own, Path(out_dir) / own.name)
    config = _config(model_dir) | {"quantization_config": quantization}
    (Path(out_dir) / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _config(folder: str | Path) -> dict:
    return json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
