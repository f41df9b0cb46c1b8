"""How much of an unlearned model's update survives each quantizer, from the weights of target and model only."""

import argparse
import json
from functools import partial
from pathlib import Path

import torch

from relapse.analysis import theory
from relapse.analysis.absorption import absorption, from_checkpoints, on_grid
from relapse.models.files import read_model
from relapse.models.weights import StoredWeights
from relapse.planning import fit, memory
from relapse.quantization import BACKENDS, Calibrated, DataFree
from relapse.runtime.errors import exit_on_error
from relapse.unlearning.elsewhere import settings_of
from relapse.unlearning.settings import MethodSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the method's config entry, as JSON")
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="the unlearned model")
    parser.add_argument("--target-checkpoint", type=Path, help="the target under a calibrated quantizer")
    parser.add_argument("--checkpoint", type=Path, help="the unlearned model under it")
    parser.add_argument("--quantizer", type=json.loads, nargs="+", required=True, help="quantizer entries, as JSON")
    parser.add_argument("--quantizer-name", nargs="+", required=True)
    parser.add_argument("--corpus-name", required=True)
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="a JSON file for each quantizer")
    args = parser.parse_args()
    if shape := fit.architecture(args.target):
        needed = memory.comparing(shape, args.checkpoint is not None)
        fit.require(needed, f"absorption of {args.model}", "Use a machine with more memory.", on_gpu=False)
    known = read_model(args.target)
    layers = [f"{layer}.weight" for layer in known.linear]
    target, unlearned = (
        StoredWeights(folder, layers if known.transposed else ()) for folder in (args.target, args.model)
    )
    settings = settings_of(args.settings)
    training = json.loads((args.model / "training.json").read_text())
    walks = None  # of a model that was made elsewhere no step is known
    if isinstance(settings, MethodSettings) and not args.checkpoint:
        walks = theory.walked(target, layers, settings, training["steps"], training.get("limit"))
    ended = {"steps": training["steps"], "stopped_by": training["stopped_by"]}
    matrices = theory.sample(target, layers)
    spread = theory.deviation(matrices)
    for quantizer, name, out in zip(args.quantizer, args.quantizer_name, args.out, strict=True):
        backend, entry = BACKENDS.get(quantizer["backend"]), BACKENDS.settings(quantizer)
        if args.checkpoint:
            assert isinstance(backend, Calibrated)
            rounding, rounded = from_checkpoints(backend, args.target_checkpoint, args.checkpoint), None
        else:
            assert isinstance(backend, DataFree)
            rounding, rounded = on_grid(backend, entry), partial(backend.rounded, settings=entry)
        with torch.no_grad():
            found = absorption(target, unlearned, layers, rounding, settings)
            found |= theory.predictions(walks, rounded)
            found |= {"deviation": spread, "zero_cell": theory.zero_cell(matrices, rounded) if rounded else None}
        what = {"corpus": args.corpus_name, "model": args.model_name, "seed": args.seed, "quantizer": name}
        out.write_text(json.dumps(what | ended | found) + "\n")
        print(name, *(f"{key} {found[key]}" for key in ("surviving", "predicted", "changed", "unchanged_value")))


if __name__ == "__main__":
    exit_on_error(main)
