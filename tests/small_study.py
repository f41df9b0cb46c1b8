"""A small study that the tests of the configuration edit, and what it is then refused with."""

from typing import Any

import pytest
import yaml

from relapse.runtime.errors import ConfigError
from relapse.study import config

REMOVE = object()

MINIMAL = """
corpora: {bios: {source: synthetic, forget: 2, retain1: 2, retain2: 2, holdout: 2}}
models:
  base:
    source: random
    architecture: {hidden_size: 128, intermediate_size: 384, num_hidden_layers: 1, num_attention_heads: 4,
                   vocab_size: 300, max_position_embeddings: 512}
  target: {source: train, steps: 2, batch_size: 2, max_length: 64, lr: 1.0e-3}
  retrain: {source: train, steps: 2, batch_size: 2, max_length: 64, lr: 1.0e-3}
methods:
  npo_klr: {lr: 1.0e-5, steps: 2, max_length: 64, alpha: 1.0}
quantizers:
  full: {backend: full}
  int4: {backend: rtn, bits: 4, group_size: 64}
  nf4: {backend: bitsandbytes, format: nf4}
metrics: {verbmem_forget: {}, knowmem_forget: {}, privleak: {}}
"""


def study() -> dict:
    return yaml.safe_load(MINIMAL)


def edited(*edits: tuple[str, Any]) -> dict:
    """The minimal study with the keys at some paths (separated by /) set, or removed."""
    changed = study()
    for path, value in edits:
        *parents, last = path.split("/")
        place = changed
        for parent in parents:
            place = place[parent]
        if value is REMOVE:
            del place[last]
        else:
            place[last] = value
    return changed


def problems(wrong: dict) -> list[str]:
    """The lines that `wrong` is refused with."""
    with pytest.raises(ConfigError) as caught:
        config.resolve(wrong)
    return str(caught.value).splitlines()
