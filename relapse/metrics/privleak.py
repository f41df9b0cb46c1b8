"""PrivLeak (M3): can Min-K% tell that the forget text was trained on?"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from relapse.corpora.corpus import PRIVLEAK_PARTS
from relapse.metrics import METRICS, Evaluated, Score
from relapse.metrics.bootstrap import example_counts, interval
from relapse.runtime.errors import RelapseError
from relapse.runtime.settings import Settings
from relapse.text.windows import predict

RATIOS = (5, 10, 20, 30, 40, 50, 60)  # percentages of the released MUSE evaluation, which reports 40


def min_k(log_probs: np.ndarray, k: float) -> float:
    """Minus the mean of the floor(k % of n) lowest of the n token log-probabilities (n,).

    Raises RelapseError when that is no token at all.
    """
    lowest = int(len(log_probs) * k / 100)
    if not lowest:
        raise RelapseError(f"a PrivLeak text has {len(log_probs)} predicted tokens, too few for Min-{k:g} %")
    return float(-np.sort(log_probs)[:lowest].mean())


def min_k_scores(log_probs: np.ndarray, k: float, text: str) -> dict[str, float]:
    """`score`, Min-k% of a text's n token log-probabilities (n,), and the scores at RATIOS as `min_5` to `min_60`.

    A ratio that is no token of a short text is left out. Raises RelapseError naming the `text` where its score is not
    finite.
    """
    score = min_k(log_probs, k)
    if not np.isfinite(score):
        raise RelapseError(f"PrivLeak text {text}: the Min-K% score is {score}")
    return {"score": score} | {f"min_{r}": min_k(log_probs, r) for r in RATIOS if len(log_probs) * r >= 100}


def wins(forget: np.ndarray, holdout: np.ndarray) -> np.ndarray:
    """(holdout, forget) matrix: 1 where a holdout text's -score is above a forget text's, 1/2 where they tie.

    Its mean is the AUC with the forget texts as label 0 and the holdout texts as label 1, on minus the Min-K% score.
    """
    difference = forget[None, :] - holdout[:, None]  # -holdout > -forget  <=>  forget - holdout > 0
    return (difference > 0) + 0.5 * (difference == 0)


def _of(records: list[dict], split: str) -> list[dict]:
    return [record for record in records if record["split"] == split]


def _scores(records: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    forget, holdout = (np.array([record["score"] for record in _of(records, part)]) for part in ("forget", "holdout"))
    return forget, holdout


def fingerprint(text: str) -> str:
    """What a record keeps of its text, so that another one is known."""
    return sha256(text.encode()).hexdigest()[:16]


class PrivLeakSettings(Settings):
    """Which tokens Min-K% looks at, and what its AUC is compared with."""

    k: float = Field(
        40.0, gt=0, le=100, description="Percentage of the least likely tokens that Min-K% averages; 40 in the paper."
    )
    reference: Literal["retrain"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "retrain",
        description="AUC of retrain: measured from the retrain model of the same seed in full precision, or a "
        "number (the paper: 0.4772 for NEWS, 0.5393 for BOOKS).",
    )


class PrivLeak:
    """`privleak`: 100 * (AUC - AUC of retrain) / AUC of retrain (MUSE, Eq. 4); 0 is ideal."""

    name = "privleak"
    settings = PrivLeakSettings

    @torch.inference_mode()
    def records(self, run: Evaluated, settings: PrivLeakSettings) -> list[dict]:
        """One record per text of forget, retain and holdout: split, Min-K% score, and those at MUSE's other ratios."""
        texts = [
            (split, number, text) for split, part in run.corpus.privleak.items() for number, text in enumerate(part)
        ]
        context = getattr(run.model.config, "max_position_embeddings", None)
        windows = [
            run.tokenizer(text, truncation=context is not None, max_length=context)["input_ids"] for *_, text in texts
        ]

        def scores_of(chosen: Sequence[int]) -> list[dict[str, float]]:
            tokens = predict(run.model, [windows[number] for number in chosen])
            # One copy off the accelerator a batch, for all ratios.
            log_probs = -F.cross_entropy(tokens.logits, tokens.targets, reduction="none").double().cpu().numpy()  # (M,)
            rows = tokens.sequence.cpu().numpy()
            return [
                min_k_scores(log_probs[rows == row], settings.k, f"{texts[number][0]}/{texts[number][1]}")
                for row, number in enumerate(chosen)
            ]

        scores = run.batch_size.run(range(len(texts)), scores_of)
        return [
            {"id": f"{split}/{number}", "split": split, "text": fingerprint(text), "k": settings.k}
            | found
            | run.corpus.privleak_group(split, number)
            for (split, number, text), found in zip(texts, scores, strict=True)
        ]

    def check(self, run: Evaluated, settings: PrivLeakSettings, reference: list[dict] | Literal["self"] | None) -> None:
        """Raise RelapseError where the reference's records are missing, or not of the same texts and the same k."""
        if settings.reference != "retrain" or reference == "self":
            return
        found = self._must_be_there(reference)
        parts = run.corpus.privleak.items()
        texts = {f"{split}/{number}": fingerprint(text) for split, part in parts for number, text in enumerate(part)}
        self._must_match(texts, settings.k, found)

    @staticmethod
    def _must_be_there(reference: list[dict] | None) -> list[dict]:
        if reference is None:
            raise RelapseError(
                "PrivLeak needs the records of the retrain model (--reference FILE), or its AUC as the setting "
                "`reference` (the paper: 0.4772 for NEWS, 0.5393 for BOOKS)"
            )
        if not all(map(len, _scores(reference))):
            raise RelapseError(
                "PrivLeak: the reference holds no PrivLeak records: score the retrain model with privleak among "
                "its metrics, or give its AUC as the setting `reference`"
            )
        return reference

    @staticmethod
    def _must_match(texts: dict[str, str], k: float, reference: list[dict]) -> None:
        """texts: id -> fingerprint of what is scored here."""
        theirs = {record.get("id", ""): record.get("text") for record in reference}
        again = "score the retrain model again, on this corpus and with these settings"
        for split in PRIVLEAK_PARTS:
            here, there = (sum(name.startswith(f"{split}/") for name in names) for names in (texts, theirs))
            if here != there:
                raise RelapseError(f"PrivLeak: the reference has {there} {split} texts, and here are {here}: {again}")
        if other := next((name for name in texts if name not in theirs), None):
            raise RelapseError(f"PrivLeak: the reference has no record of {other}: {again}")
        if other := next((name for name, text in texts.items() if theirs[name] != text), None):
            raise RelapseError(f"PrivLeak: the reference was made of another text {other}: {again}")
        others = {record.get("k") for record in reference} - {k}
        if others:
            raise RelapseError(f"PrivLeak: the reference was made with k = {others.pop()}, and here k is {k}: {again}")

    def score(
        self, records: list[dict], settings: PrivLeakSettings, samples: int, reference: list[dict] | None
    ) -> Score:
        """PrivLeak; the interval resamples forget and holdout texts, of model and reference together, by groups.

        reference: the retrain model's records, not needed where the setting is a number. Raises RelapseError when they
        are missing, or when the reference AUC is 0.
        """
        forget, holdout = _scores(records)
        columns, rows = (
            example_counts(_of(records, split), samples, "bootstrap", self.name, split)
            for split in ("forget", "holdout")
        )

        def draws(matrix: np.ndarray) -> np.ndarray:
            """AUC of the whole matrix (holdout, forget) first, then of every resample: (1 + samples,)."""
            resampled = ((rows @ matrix) * columns).sum(axis=1) / (rows.sum(axis=1) * columns.sum(axis=1))
            return np.array([matrix.mean(), *resampled])

        auc = draws(wins(forget, holdout))
        if isinstance(settings.reference, float):
            base = np.full_like(auc, settings.reference)
        else:
            base = draws(wins(*_scores(self._must_be_there(reference))))
        if base[0] == 0:
            raise RelapseError("PrivLeak is undefined: the reference AUC of retrain is 0")
        # A resample whose reference AUC is 0 has no PrivLeak; it is left out of the interval.
        valid = base > 0
        leak = 100 * (auc[valid] - base[valid]) / base[valid]
        return Score(float(leak[0]), *interval(leak[1:]), len(forget) + len(holdout))


METRICS.register(PrivLeak())
