"""Writing a model folder: weights in bfloat16 (as the 7B checkpoints rest), tokenizer, and how it was made."""

import json
from importlib.metadata import version
from pathlib import Path

import torch


def versions() -> dict[str, str]:
    """Versions of the libraries that decide a number."""
    return {name: version(name) for name in ("torch", "transformers", "bitsandbytes", "tokenizers")}


def save(model, tokenizer, folder: Path, facts: dict, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write model, tokenizer and `facts` (as training.json) to `folder`; weights in `dtype`, as safetensors."""
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps(facts | {"versions": versions()}, indent=1) + "\n")
