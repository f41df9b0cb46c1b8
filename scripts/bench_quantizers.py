"""Speed of quantizers: seconds for a million weights, from a model directory to a quantized model.

A data-free quantizer's model is then in memory, a calibrated one's on disk; reading the directory is part of both, and
is what `full` takes. On the default study's corpus and model size with random weights, on one thread.
"""

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from math import prod
from pathlib import Path

from relapse.models.files import read_model
from relapse.models.saving import save
from relapse.quantization import BACKENDS, Calibrated, DataFree
from relapse.quantization.calibration import CalibratedSettings, draw
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.errors import exit_on_error
from scripts.bench import subject

REPEATS = 3


def seconds(action: Callable[[], object]) -> float:
    """Median time of `action`, which runs once before, for what happens the first time alone. Its words are dropped."""
    times = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            action()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def quantization(entry: QuantizerSettings, model: Path, tokenizer, corpus, out: Path) -> Callable[[], object]:
    """A function that quantizes the model in a directory by an entry; calibrated ones write to `out`."""
    backend = BACKENDS.get(entry.backend)
    if isinstance(backend, DataFree):
        return lambda: backend.load(model, entry)
    assert isinstance(backend, Calibrated) and isinstance(entry, CalibratedSettings)
    drawn, _ = draw(tokenizer, corpus, entry)
    return lambda: backend.quantize(model, entry, drawn, out)


def main() -> None:
    study, corpus, random_model, tokenizer = subject(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        model, out = Path(folder) / "model", Path(folder) / "out"
        save(random_model, tokenizer, model, {})
        weights = sum(map(prod, read_model(model).linear.values()))
        print(f"quantizers: seconds for a million weights ({weights / 1e6:.2f} million here), windows x tokens of text")
        for name, quantizer in study.quantizers.items():
            if environment := getattr(BACKENDS.get(quantizer.backend), "environment", None):
                print(f"  {name:16} not timed: it runs in an environment of its own ({environment})")
                continue
            took = seconds(quantization(quantizer, model, tokenizer, corpus, out))
            calibrated = isinstance(quantizer, CalibratedSettings)
            text = f"   {quantizer.samples} x {quantizer.sample_length}" if calibrated else ""
            print(f"  {name:16} {took / weights * 1e6:8.3f}{text}", flush=True)


if __name__ == "__main__":
    exit_on_error(main)
