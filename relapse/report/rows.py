"""One row for each model and quantizer: what came back, what of the update survived, and what the model was made with.

This module joins recovery.csv, absorption.csv and the study's entries, and sets how a quantizer and a storage look in
every figure.
"""

from pathlib import Path

import pandas as pd
from matplotlib.colors import to_hex, to_rgb

from relapse.analysis.study import Study, bits
from relapse.report.style import BLUE, GREEN, GREY, NAVY, ORANGE, PURPLE, VERMILION

STORAGE_LABELS = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "bfloat16_stochastic": "bfloat16, rounded stochastically",
    "bfloat16_kahan": "bfloat16, Kahan summation",
    "bfloat16 states": "bfloat16, optimiser states too",
    "elsewhere": "made elsewhere",
}
CALIBRATED_COLOURS = {"gptq": NAVY, "awq": PURPLE, "autogptq": NAVY, "autoawq": PURPLE}
STORAGE_MARKERS = {
    "float32": "s",
    "bfloat16": "o",
    "bfloat16_stochastic": "^",
    "bfloat16_kahan": "v",
    "bfloat16 states": "D",
    "elsewhere": "X",
}


def quantizer_colour(entry: dict) -> str:
    """A colour: by bits for round-to-nearest, paler for smaller groups; by format or backend for the others."""
    formats = {"fp4": ORANGE, "nf4": GREEN, "int8": GREY}
    if entry["backend"] in CALIBRATED_COLOURS:
        return CALIBRATED_COLOURS[entry["backend"]] if bits(entry) == 4 else GREY
    if "format" in entry:
        return formats.get(entry["format"], GREY)
    colour = {8: BLUE, 4: VERMILION, 3: PURPLE}.get(bits(entry) or 0, GREEN)
    paler = {64: 0.35, 32: 0.6}.get(entry.get("group_size", 0), 0.0)
    red, green, blue = (paler + (1 - paler) * part for part in to_rgb(colour))
    return to_hex((red, green, blue))


def storage_of(entry: dict) -> str:
    """A model's storage as figures tell it apart: the parameters', and whether the optimiser's states are rounded.

    Of a model that was made elsewhere nothing is known of it.
    """
    if "source" in entry:
        return "elsewhere"
    return "bfloat16 states" if entry["state_storage"] == "bfloat16" else entry["storage"]


def read_cells(study: Study, recovery: Path, absorption: Path) -> pd.DataFrame:
    """recovery.csv's rows for VerMem and KnowMem together, with absorption.csv's means over seeds and the settings.

    Added columns: surviving, predicted, unchanged_code, outside, half_step (means), limit (a seed ended by its number
    of steps), base, lr, storage (as `storage_of`), sure.
    """
    recovered = pd.read_csv(recovery)
    recovered = recovered[recovered["metric"] == "knowledge"]
    updates = pd.read_csv(absorption)
    updates["limit"] = updates["stopped_by"] == "steps"
    keys = ["corpus", "model", "quantizer"]
    means = updates.groupby(keys)[["surviving", "predicted", "unchanged_code", "outside", "half_step"]].mean()
    means["limit"] = updates.groupby(keys)["limit"].any()
    cells = recovered.merge(means.reset_index(), on=keys)
    entries = [study.methods[name] for name in cells["model"]]
    cells["base"] = [entry["base"] for entry in entries]
    cells["lr"] = [entry.get("lr") for entry in entries]
    cells["storage"] = [storage_of(entry) for entry in entries]
    cells["sure"] = [entry.get("mask", "") for entry in entries]
    return cells
