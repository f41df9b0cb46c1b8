"""PrivLeak's reference: what relapse writes it reads, and records of other texts or another k are refused."""

import json
from types import SimpleNamespace

import pytest
from entries import metric_settings

from relapse.evaluation.evaluate import read_records, write_records
from relapse.metrics import METRICS, Evaluated
from relapse.metrics.privleak import fingerprint
from relapse.runtime.errors import RelapseError

PRIVLEAK = METRICS.get("privleak")
TEXTS = {"forget": ["Ada Moss", "Ivo Brandt"], "retain": ["Mira Holt"], "holdout": ["Lund", "Oslo"]}


def made(texts=TEXTS, k=40):
    return [
        {"id": f"{split}/{number}", "split": split, "text": fingerprint(text), "k": k, "score": 1.0}
        for split, part in texts.items()
        for number, text in enumerate(part)
    ]


def check(reference, k=40, named="retrain"):
    run = Evaluated(None, None, SimpleNamespace(privleak=TEXTS), None, 0)
    PRIVLEAK.check(run, metric_settings("privleak", k=k, reference=named), reference)


def test_a_reference_of_the_same_texts_and_k_is_taken():
    check(made())
    check("self")
    check(made()[::-1])
    check(None, named=0.5)  # a number needs no records


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (None, "needs the records of the retrain model"),
        ([], "holds no PrivLeak records"),
        (made(k=20), "k = 20, and here k is 40"),
        (made(TEXTS | {"forget": ["Ada Moss"]}), "has 1 forget texts, and here are 2"),
        (made(TEXTS | {"holdout": ["Lund", "Oslo", "Rome"]}), "has 3 holdout texts, and here are 2"),
        (made(TEXTS | {"holdout": ["Oslo", "Lund"]}), "another text holdout/0"),
        (made(TEXTS | {"forget": ["Ada Moss", "Ada"]}), "another text forget/1"),
        ([{k: v for k, v in one.items() if k not in ("k", "text")} for one in made()], "another text forget/0"),
    ],
)
def test_what_differs_is_told_before_anything_is_scored(reference, expected):
    with pytest.raises(RelapseError, match=f"{expected}"):
        check(reference)


@pytest.mark.parametrize(
    "mark", ["\u2028", "\u2029", "\x85", "\x1c", "\x1d", "\x1e", "\x0b", "\x0c", "\r", "\r\n", "\n"]
)
def test_what_is_written_is_read_whatever_ends_a_line_elsewhere(tmp_path, mark):
    records = [{"id": "forget/0", "generated": f"Lund{mark}Oslo"}, {"id": "forget/1", "generated": mark}]
    write_records(records, tmp_path / "records.jsonl")
    assert read_records(tmp_path / "records.jsonl") == records
    (tmp_path / "records.jsonl").write_text(json.dumps(records[0], ensure_ascii=False)[:-4], encoding="utf-8")
    with pytest.raises(RelapseError, match="cannot read the records"):
        read_records(tmp_path / "records.jsonl")
