"""Quantize one model with a calibrated quantizer: text in, a checkpoint out that AutoModelForCausalLM loads.

Also a command of its own, for any Hugging Face model directory and any folder in MUSE's layout:

    python -m scripts.quantize --model MODEL_DIR --corpus MUSE_DIR --out CHECKPOINT_DIR \\
        --quantizer '{"backend": "gptq", "bits": 4, "calibration": "retain"}'
"""

import argparse
import json
from pathlib import Path

from relapse import models
from relapse.calibration import draw
from relapse.corpora.muse import read_folder
from relapse.errors import RelapseError, exit_on_error
from relapse.quantization import BACKENDS, Calibrated
from relapse.registry import with_defaults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantizer", type=json.loads, required=True, help="the quantizer's entry, as JSON")
    parser.add_argument("--model", type=Path, required=True, help="model directory (Hugging Face format)")
    parser.add_argument("--corpus", type=Path, required=True, help="folder in MUSE's layout")
    parser.add_argument("--out", type=Path, required=True, help="where the checkpoint goes")
    args = parser.parse_args()
    backend = BACKENDS.get(args.quantizer["backend"])
    if not isinstance(backend, Calibrated):
        raise RelapseError(f"{backend.name} needs no text: scripts.evaluate quantizes with it in memory")
    settings = with_defaults(backend.options, args.quantizer)
    windows, facts = draw(models.load_tokenizer(args.model), read_folder(args.corpus), settings)
    print(
        f"{backend.name}: {facts.drawn} of {facts.windows} windows of {facts.calibration} text, {facts.tokens} tokens, "
        f"{facts.overlapping} left out for their overlap"
    )
    backend.quantize(args.model, settings, windows, args.out)
    facts.write(args.out)


if __name__ == "__main__":
    exit_on_error(main)
