"""Quantize one model with a calibrated quantizer: text in, a checkpoint out that AutoModelForCausalLM loads.

Also a command of its own, for any Hugging Face model directory and any folder in MUSE's layout:

    python -m scripts.quantize --model MODEL_DIR --corpus MUSE_DIR --out CHECKPOINT_DIR \\
        --quantizer '{"backend": "gptq", "bits": 4, "calibration": "retain"}'
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from relapse.corpora.muse import read_folder
from relapse.models import stored
from relapse.models.files import read_model
from relapse.models.loading import load_tokenizer
from relapse.planning import fit, memory
from relapse.quantization import BACKENDS, Calibrated
from relapse.quantization.calibration import draw
from relapse.runtime.errors import RelapseError, exit_on_error
from relapse.study.given import as_json, check_given
from relapse.text.prompts import asked_texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantizer", type=as_json, required=True, help="the quantizer's entry, as JSON")
    parser.add_argument("--model", type=Path, required=True, help="model directory (Hugging Face format)")
    parser.add_argument("--corpus", type=Path, required=True, help="folder in MUSE's layout")
    parser.add_argument("--out", type=Path, required=True, help="where the checkpoint goes")
    parser.add_argument("--python", default=sys.executable, help="the Python that the backend runs in")
    parser.add_argument("--checked", action="store_true", help=argparse.SUPPRESS)  # by the study that it comes from
    parser.add_argument("--windows", type=Path, help=argparse.SUPPRESS)  # what --python is handed: text as tokens
    args = parser.parse_args()
    if not args.checked and not args.windows:
        check_given("quantizers", "quantizer", args.quantizer)
    backend = BACKENDS.get(args.quantizer["backend"])
    if not isinstance(backend, Calibrated):
        raise RelapseError(f"{backend.name} needs no text: scripts.evaluate quantizes with it in memory")
    settings = BACKENDS.settings(args.quantizer)
    if args.windows:
        backend.quantize(args.model, settings, json.loads(args.windows.read_text()), args.out)
        backend.write_versions(args.out)
        return
    context = read_model(args.model).context
    stored.check(args.model)  # here, since --python may have libraries that look less closely
    if context is not None and settings.sample_length > context:
        raise RelapseError(
            f"sample_length is {settings.sample_length}, must be at most {context}, the context of {args.model} "
            "(max_position_embeddings in its config.json)"
        )
    corpus = read_folder(args.corpus)
    windows, facts = draw(load_tokenizer(args.model, asked_texts(corpus)), corpus, settings)
    print(
        f"{backend.name}: {facts.drawn} of {facts.windows} windows of {facts.calibration} text, {facts.tokens} tokens, "
        f"{facts.overlapping} left out for their overlap"
    )
    if shape := fit.architecture(args.model):
        less = "Use a machine with more memory, or fewer samples of a shorter sample_length."
        needed = memory.calibrating(shape, facts.tokens, max(map(len, windows)), torch.cuda.is_available())
        fit.require(needed, f"quantizing {args.model}", less)
    if backend.environment:
        quantize_elsewhere(args, windows)
    else:
        backend.quantize(args.model, settings, windows, args.out)
        backend.write_versions(args.out)
    facts.write(args.out)


def quantize_elsewhere(args: argparse.Namespace, windows: list[list[int]]) -> None:
    """Run this program in `--python`, whose libraries may not read the tokenizer, with the text as tokens.

    Raises RelapseError with its output where it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "windows.json"
        path.write_text(json.dumps(windows))
        command = [args.python, "-m", "scripts.quantize", "--windows", str(path), "--out", str(args.out)]
        command += ["--quantizer", json.dumps(args.quantizer), "--model", str(args.model), "--corpus", str(args.corpus)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    sys.stderr.write(done.stderr)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it ended without a message"]
        raise RelapseError(f"{args.quantizer['backend']} in {args.python}: {last[0].removeprefix('error: ')}")


if __name__ == "__main__":
    exit_on_error(main)
