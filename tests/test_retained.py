"""Retained knowledge against values worked out by hand, on records written here."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from relapse.analysis import retained as analysis
from relapse.analysis.headline import headline
from relapse.analysis.study import bits, read_study
from relapse.runtime.errors import RelapseError

ROOT = Path(__file__).resolve().parent.parent
QUANTIZERS = {
    "bnb-nf4": {"backend": "bitsandbytes", "format": "nf4"},
    "rtn-int4": {"backend": "rtn", "bits": 4, "group_size": 64},
    "full": {"backend": "full"},
}
METHODS = {
    "npo_klr": {"constrained": True},
    "ga": {"constrained": False},
    "ga_gdr": {"constrained": True},
}


def settings(**changes):
    return {
        "study": "toy",
        "corpora": ["bios"],
        "seeds": [0],
        "methods": METHODS,
        "quantizers": QUANTIZERS,
        "evaluation": {"bootstrap_samples": 200},
    } | changes


def write_records(folder: Path, corpus, model, seed, quantizer, verbmem, knowmem, flip=False, groups=0):
    """Records with these per-example scores; `flip` writes them in the other order, `groups` of them are in a row."""
    records = [{"metric": "verbmem_forget", "id": f"v/{i}", "score": s} for i, s in enumerate(verbmem)]
    records += [{"metric": "knowmem_forget", "id": f"k/{i}", "score": s} for i, s in enumerate(knowmem)]
    if groups:
        records = [record | {"group": f"{int(record['id'][2:]) // groups}"} for record in records]
    records += [{"metric": "knowmem_retain", "id": "k/0", "score": 50.0}]
    path = analysis.records_path(folder, corpus, model, seed, quantizer)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in (records[::-1] if flip else records)))


def write_study(folder: Path, corpora=("bios",), seeds=(0,), factor=lambda corpus, seed: 1.0):
    """V + K: target 80 + 100 in full precision and 60 + 90 quantized; methods as listed in the test below."""
    for corpus in corpora:
        for seed in seeds:
            for quantizer in QUANTIZERS:
                full = quantizer == "full"
                target = ([60, 100], [100, 100, 100]) if full else ([40, 80], [90, 80, 100])
                write_records(folder, corpus, "target", seed, quantizer, *target)
                write_records(folder, corpus, "retrain", seed, quantizer, [9, 9], [9, 9, 9])
                share = factor(corpus, seed) * (0.1 if full else 0.5)
                for method, part in (("ga", 0.0), ("ga_gdr", 1.0), ("npo_klr", 3.0)):
                    scores = [[min(share * part * s, 100) for s in part_scores] for part_scores in target]
                    write_records(folder, corpus, method, seed, quantizer, *scores, flip=True)


def rows_of(folder, **changes):
    reader = analysis.Reader(folder, read_study(settings(**changes)))
    return {(row.corpus, row.model, row.quantizer): row for row in analysis.retained(reader)}, reader


def test_ratio_and_reconstructed_average_by_hand(tmp_path):
    write_study(tmp_path)
    rows, _ = rows_of(tmp_path)
    assert [row[1] for row in list(rows)[::3]] == ["retrain", "ga", "ga_gdr", "npo_klr", "average"]
    assert [row[2] for row in rows][:3] == ["full", "rtn-int4", "bnb-nf4"]
    # retrain knows 9 + 9 = 18 of 180 in full precision, and of 60 + 90 = 150 at 4 bit.
    assert rows["bios", "retrain", "full"].value == pytest.approx(10.0)
    assert rows["bios", "retrain", "rtn-int4"].value == pytest.approx(12.0)
    assert rows["bios", "ga", "full"].value == 0.0
    assert rows["bios", "ga_gdr", "full"].value == pytest.approx(10.0)
    # npo_klr at 4 bit: 1.5 of V 40, 80 -> 60, 100 (a score ends at 100) = 80; of K 90, 80, 100 -> 100.
    assert rows["bios", "npo_klr", "rtn-int4"].value == pytest.approx(100 * (80 + 100) / 150)
    # average: ga, which has no retain term, is not in it. Full: (18 + 54) / 360; 4 bit: (75 + 180) / 300.
    assert rows["all", "average", "full"].value == pytest.approx(20.0)
    assert rows["all", "average", "rtn-int4"].value == pytest.approx(85.0)


def test_examples_are_paired_so_a_constant_share_has_no_width(tmp_path):
    write_study(tmp_path)
    rows, _ = rows_of(tmp_path)
    constant = rows["bios", "ga_gdr", "full"]  # a tenth of the target on every example
    assert (constant.ci_low, constant.ci_high) == (pytest.approx(10.0), pytest.approx(10.0))
    varying = rows["bios", "npo_klr", "rtn-int4"]
    assert varying.ci_low < varying.value < varying.ci_high


def test_interval_is_that_of_a_plain_paired_bootstrap(tmp_path):
    write_study(tmp_path)
    rows, _ = rows_of(tmp_path, evaluation={"bootstrap_samples": 4000})
    plain = np.random.default_rng(1)
    target_v, target_k = np.array([40, 80.0]), np.array([90, 80, 100.0])
    model_v, model_k = np.array([60, 100.0]), np.array([100, 100, 100.0])
    draws = []
    for _ in range(4000):
        v, k = plain.integers(0, 2, 2), plain.integers(0, 3, 3)
        draws.append(100 * (model_v[v].mean() + model_k[k].mean()) / (target_v[v].mean() + target_k[k].mean()))
    row = rows["bios", "npo_klr", "rtn-int4"]
    assert (row.ci_low, row.ci_high) == pytest.approx(tuple(np.percentile(draws, (2.5, 97.5))), abs=1.0)


def test_seeds_are_the_unit_and_corpora_are_summed(tmp_path):
    write_study(tmp_path, ("bios", "news"), (0, 1), lambda corpus, seed: 2.0 if seed else 1.0)
    rows, _ = rows_of(tmp_path, corpora=["news", "bios"], seeds=[1, 0])
    # ga_gdr keeps 10 % at seed 0 and 20 % at seed 1.
    row = rows["news", "ga_gdr", "full"]
    assert row.value == pytest.approx(15.0)
    # Student's with one degree of freedom: 12.706 times the standard error, sqrt(50 / 2) = 5.
    assert (row.ci_low, row.ci_high) == (pytest.approx(15 - 63.53, abs=0.01), pytest.approx(15 + 63.53, abs=0.01))
    # full, per corpus: ga_gdr 18 + 36, npo_klr 54 + 108 of four times 180; both corpora alike.
    assert rows["all", "average", "full"].value == pytest.approx(100 * 216 / 720)


def test_people_are_drawn_together(tmp_path):
    """Ten people of four passages and four questions, each wholly known or wholly forgotten."""
    known = [100.0 * (person % 2) for person in range(10) for _ in range(4)]
    width = {}
    for groups in (0, 4):
        folder = tmp_path / str(groups)
        for model, scores in (("target", [100.0] * 40), ("retrain", known), ("ga_gdr", known)):
            write_records(folder, "bios", model, 0, "full", scores, scores, groups=groups)
        rows, reader = rows_of(
            folder,
            methods={"ga_gdr": METHODS["ga_gdr"]},
            quantizers={"full": QUANTIZERS["full"]},
            evaluation={"bootstrap_samples": 4000},
        )
        row = rows["bios", "ga_gdr", "full"]
        assert row.value == pytest.approx(50) and reader.grouped == bool(groups)
        width[groups] = row.ci_high - row.ci_low
    # 50 points over sqrt(10) people; over sqrt(80) examples.
    assert width[4] == pytest.approx(2 * 1.96 * 50 / np.sqrt(10), rel=0.15)
    assert width[0] == pytest.approx(2 * 1.96 * 50 / np.sqrt(80), rel=0.15)


def test_same_input_gives_the_same_intervals_whatever_else_is_in_the_study(tmp_path):
    write_study(tmp_path)
    everything, _ = rows_of(tmp_path)
    fewer, _ = rows_of(
        tmp_path, methods={"npo_klr": METHODS["npo_klr"]}, quantizers={"rtn-int4": QUANTIZERS["rtn-int4"]}
    )
    assert fewer["bios", "npo_klr", "rtn-int4"] == everything["bios", "npo_klr", "rtn-int4"]


def test_errors_name_the_file(tmp_path):
    write_study(tmp_path)
    path = analysis.records_path(tmp_path, "bios", "ga", 0, "full")
    write_records(tmp_path, "bios", "ga", 0, "full", [1, 2, 3], [1, 2, 3])
    with pytest.raises(RelapseError, match=f"{path} has other examples of verbmem_forget"):
        rows_of(tmp_path)
    path.write_text('{"metric": "verbmem_forget", "id": "v/0"}\n')
    with pytest.raises(RelapseError, match=f"cannot read the records in {path}"):
        rows_of(tmp_path)
    path.write_text('{"metric": "verbmem_forget", "id": "v/0", "score": 1}\n')
    with pytest.raises(RelapseError, match=f"{path} has no record of knowmem_forget"):
        rows_of(tmp_path)
    path.unlink()
    with pytest.raises(RelapseError, match=f"{path} is missing"):
        rows_of(tmp_path)


def test_a_target_that_knows_nothing_is_an_error(tmp_path):
    write_study(tmp_path)
    write_records(tmp_path, "bios", "target", 0, "full", [0, 0], [0, 0, 0])
    with pytest.raises(RelapseError, match="target of bios in full precision scores 0"):
        rows_of(tmp_path)


def test_a_quantizer_under_which_the_target_knows_nothing_leaves_empty_cells(tmp_path):
    write_study(tmp_path)
    write_records(tmp_path, "bios", "target", 0, "rtn-int4", [0, 0], [0, 0, 0])
    rows, reader = rows_of(tmp_path)
    assert rows["bios", "ga_gdr", "rtn-int4"].value is None
    assert rows["all", "average", "rtn-int4"].value is None
    assert rows["all", "average", "full"].value == pytest.approx(20.0)
    text = headline(reader.study, list(rows.values()), reader, {})
    assert "the target knows nothing under it" in text
    analysis.write_csv(list(rows.values()), tmp_path / "retained.csv")
    assert "bios,ga_gdr,rtn-int4,,,\n" in (tmp_path / "retained.csv").read_text()
    assert analysis.read_csv(tmp_path / "retained.csv") != []


def test_csv_reads_back(tmp_path):
    write_study(tmp_path)
    rows, _ = rows_of(tmp_path)
    analysis.write_csv(list(rows.values()), tmp_path / "retained.csv")
    assert (tmp_path / "retained.csv").read_text().splitlines()[0] == "corpus,model,quantizer,value,ci_low,ci_high"
    back = analysis.read_csv(tmp_path / "retained.csv")
    assert [row.model for row in back] == [row.model for row in rows.values()]
    assert back[-3].value == pytest.approx(20.0)


def test_headline_keeps_bitsandbytes_apart_and_says_what_was_averaged(tmp_path):
    write_study(tmp_path)
    rows, reader = rows_of(tmp_path)
    text = headline(reader.study, list(rows.values()), reader, {"bios": "made-up people."})
    own, others = text.split("Other quantizers")
    assert "full        20.0 %" in own
    assert "rtn-int4    85.0 %" in own
    assert "bnb-nf4" not in own
    assert "bnb-nf4     85.0 %" in others
    flat = " ".join(text.split())
    assert "Reconstructed average: (VerMem forget + KnowMem forget) summed over ga_gdr, npo_klr and 1 corpus" in flat
    assert "1 seed." in flat
    assert "bios: made-up people; 2 VerMem prompts and 3 KnowMem questions on forget." in flat


def test_headline_says_what_its_intervals_are_over(tmp_path):
    write_study(tmp_path, seeds=(0, 1, 2))
    rows, reader = rows_of(tmp_path)
    text = " ".join(headline(reader.study, list(rows.values()), reader, {}).split())
    assert "95 % interval of a paired bootstrap over examples; it does not cover another training run." in text
    reader.grouped = True
    assert "bootstrap over people" in " ".join(headline(reader.study, list(rows.values()), reader, {}).split())
    rows, reader = rows_of(tmp_path, seeds=[0, 1, 2])
    text = " ".join(headline(reader.study, list(rows.values()), reader, {}).split())
    assert "3 seeds. In brackets the 95 % t interval over 3 seeds" in text and "people" not in text


def test_headline_without_constrained_methods_says_so(tmp_path):
    write_study(tmp_path)
    rows, reader = rows_of(tmp_path, methods={"ga": METHODS["ga"]})
    assert not [row for row in rows if row[1] == "average"]
    assert "no utility-constrained method" in headline(reader.study, list(rows.values()), reader, {})


def test_bits_of_a_quantizer():
    assert [bits(QUANTIZERS[name]) for name in ("full", "rtn-int4", "bnb-nf4")] == [None, 4, 4]
    assert bits({"backend": "bitsandbytes", "format": "int8"}) == 8


def test_script_writes_the_same_bytes_twice_and_imports_no_torch(tmp_path):
    write_study(tmp_path / "metrics")
    (tmp_path / "corpora" / "bios").mkdir(parents=True)
    (tmp_path / "corpora" / "bios" / "corpus.json").write_text(json.dumps({"statement": "made-up people"}))
    written = []
    for name in ("first", "second"):
        arguments = ["--settings", json.dumps(settings()), "--metrics-dir", str(tmp_path / "metrics")]
        arguments += ["--corpora-dir", str(tmp_path / "corpora"), "--out", str(tmp_path / name / "retained.csv")]
        arguments += ["--headline", str(tmp_path / name / "headline.txt")]
        code = f"import runpy, sys; sys.argv = ['retained', *{arguments!r}]; "
        code += "runpy.run_module('scripts.retained', run_name='__main__'); assert 'torch' not in sys.modules"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == 0, run.stderr
        written.append([(tmp_path / name / file).read_bytes() for file in ("retained.csv", "headline.txt")])
    assert written[0] == written[1]
    assert b"made-up people" in written[0][1]
