"""models.csv: what every model of a study was made with, and how its unlearning ended.

Defaults are filled in and grids expanded. The endings come from training.json beside every unlearned model.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from relapse.runtime.errors import RelapseError
from relapse.unlearning.stopping import MUST_FALL

# What ended an unlearning run, behind the settings: stopped_by is stop_at, its rule, or steps, the limit.
ENDED = ("steps_taken", "stopped_by", "unmet", "knowmem_forget_share", "knowmem_retain_share")


def endings(folder: Path, corpora: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> Iterator[dict]:
    """How every unlearning run ended, from {folder}/{corpus}/{method}/seed{seed}/training.json.

    shares are what is left of the target's score; `unmet` names the scores that miss what stop_at asks for. Raises
    RelapseError where a model has no such file.
    """
    for corpus in corpora:
        for method in methods:
            for seed in seeds:
                path = folder / corpus / method / f"seed{seed}" / "training.json"
                try:
                    training = json.loads(path.read_text(encoding="utf-8"))
                except FileNotFoundError:
                    raise RelapseError(
                        f"{path} is missing: unlearn {method} on {corpus} with seed {seed} first"
                    ) from None
                shares = {f"{metric}_share": f"{share:.4f}" for metric, share in training["shares"].items()}
                yield (
                    {"corpus": corpus, "model": method, "seed": seed}
                    | shares
                    | {
                        "steps_taken": training["steps"],
                        "stopped_by": training["stopped_by"],
                        "unmet": " ".join(training["unmet"]),
                    }
                )


def write_csv(models: Mapping[str, Mapping[str, Any]], ended: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A line for every model that is not unlearned, and one for every corpus and seed of every other.

    models: name -> settings; lists and mappings are written as JSON, nothing for a missing key. ended: `endings`.
    """
    keys = sorted({key for settings in models.values() for key in settings} - {"seed"})
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for run in ended:
        runs.setdefault(run["model"], []).append(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["model", "corpus", "seed", *keys, *ENDED])
        for name, settings in models.items():
            for run in runs.get(name, [{}]):
                cells = [_cell(settings.get(key)) for key in keys]
                place = [run.get("corpus", ""), run.get("seed", settings.get("seed", ""))]
                writer.writerow([name, *place, *cells, *(run.get(key, "") for key in ENDED)])


def unmet(path: Path) -> dict[str, str]:
    """Method -> how its runs missed their stop rule, for the methods of models.csv that did."""
    names = {"knowmem_forget": "KnowMem forget", "knowmem_retain": "KnowMem retain"}
    missed: dict[str, list[str]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for metric in row["unmet"].split():
                asked = json.loads(row["stop_at"])[metric]
                bound = "at most" if MUST_FALL[metric] else "at least"
                missed.setdefault(row["model"], []).append(
                    f"{row['corpus']}, seed {row['seed']}: {names[metric]} {100 * float(row[f'{metric}_share']):.0f} % "
                    f"of the target's, {bound} {100 * asked:g} % asked"
                )
    return {
        model: f"reached its limit of steps without meeting its stop rule ({'; '.join(runs)})"
        for model, runs in missed.items()
    }


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping | list):
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return "" if value is None else value
