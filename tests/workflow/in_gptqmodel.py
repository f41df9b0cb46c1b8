"""Runs in the environment `gptqmodel`: what checkpoints compute, twice each: in_gptqmodel.py OUT BACKEND FOLDER ..."""

import sys

import torch
from safetensors.torch import save_file

from relapse.quantization import BACKENDS

TOKENS = torch.arange(2, 66).reshape(2, 32)  # (B, T)


def main() -> None:
    out, *given = sys.argv[1:]
    found = {}
    for name, folder in zip(given[::2], given[1::2], strict=True):
        with torch.no_grad():
            model = BACKENDS.get(name).load(folder, BACKENDS.settings({"backend": name}))
            found |= {f"{folder} {again}": model(TOKENS).logits.clone() for again in (1, 2)}
    save_file(found, out)


if __name__ == "__main__":
    main()
