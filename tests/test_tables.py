"""Table 1 against cells and sentences worked out by hand."""

import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from relapse.analysis.study import read_study
from relapse.report import table_page, tables
from relapse.report.tables import Cell
from relapse.runtime.errors import RelapseError

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "study": "toy",
    "corpora": {"bios": {}},
    "seeds": [0],
    "methods": {
        "npo_klr": {"constrained": True, "storage": "float32", "formulation": "released"},
        "ga": {"constrained": False, "storage": "bfloat16"},
    },
    "quantizers": {"rtn-int4": {"backend": "rtn", "bits": 4}, "full": {"backend": "full"}},
    "metrics": {"privleak": {}, "knowmem_forget": {}},
    "evaluation": {"batch_size": 128},
}
MODELS = ["target", "retrain", "ga", "npo_klr"]
STATEMENTS = {"bios": "20 made-up people & 50 % of them_known."}


MISSED = """model,corpus,seed,stop_at,unmet,knowmem_forget_share
npo_klr,bios,0,"{""knowmem_forget"":0.25}",knowmem_forget,0.4123
ga,bios,0,,,
"""


def write_metrics(path: Path, seeds=(0,)) -> Path:
    """Model i of MODELS under quantizer j scores 10 i + j (+ 2 a seed) on KnowMem, minus that on PrivLeak."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("corpus,model,seed,quantizer,metric,value,ci_low,ci_high,n".split(","))
        for i, model in enumerate(MODELS):
            for j, quantizer in enumerate(("full", "rtn-int4")):
                for seed in seeds:
                    value = 10 * i + j + 2 * seed + 0.04
                    writer.writerow(["bios", model, seed, quantizer, "knowmem_forget", value, value - 1, value + 2, 60])
                    if model != "ga":
                        writer.writerow(
                            ["bios", model, seed, quantizer, "privleak", -value, -value - 3, -value + 3, 20]
                        )
    return path


@pytest.fixture
def table(tmp_path):
    study = read_study(SETTINGS)
    cells = tables.read_cells(write_metrics(tmp_path / "metrics.csv"), study)
    return study, cells, tables.notes(study, cells, STATEMENTS)


def test_csv_has_a_value_and_an_interval_per_metric_and_precision(table):
    study, cells, _ = table
    rows = list(csv.DictReader(tables.write_csv(study, cells).splitlines()))
    assert [row["model"] for row in rows] == MODELS
    assert list(rows[0])[2:5] == ["knowmem_forget.full", "knowmem_forget.full.low", "knowmem_forget.full.high"]
    assert len(rows[0]) == 2 + 2 * 2 * 3
    last = rows[-1]
    assert [last[f"knowmem_forget.rtn-int4{part}"] for part in ("", ".low", ".high")] == ["31.04", "30.04", "33.04"]
    assert rows[2]["privleak.full"] == ""  # ga has none: empty, and not zero


def test_markdown_has_one_table_per_metric(table):
    text = tables.write_markdown(*table)
    assert text.index("**bios: M2 KnowMem forget ↓**") < text.index("**bios: M3 PrivLeak → 0**")
    assert "| | full | rtn-int4 |\n|---|---:|---:|\n" in text
    assert "| npo_klr | −30.0<br><sub>[−33.0, −27.0]</sub> | −31.0<br><sub>[−34.0, −28.0]</sub> |" in text
    assert "| ga | – | – |" in text


def test_tex_is_balanced_and_escaped(table):
    text = tables.write_tex(*table, 1)
    body = re.search(r"\\toprule(.*)\\bottomrule", text, re.S).group(1)
    lines = [line for line in body.splitlines() if "&" in line and "multicolumn" not in line]
    assert len(lines) == 1 + 2 * len(MODELS)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {4}
    assert r"\begin{tabular}{lrrrr}" in text
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in body
    assert r"npo\_klr & 30.0 & 31.0 & $-$30.0 & $-$31.0 \\" in body
    assert r"ga & 20.0 & 21.0 & -- & -- \\" in body
    assert r"20 made-up people \& 50 \% of them\_known" in text
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    assert not re.findall(r"[^\x00-\x7f]", text)


def test_html_is_one_offline_page_with_every_cell(table):
    text = table_page.write_html(*table, 1)

    class Tags(HTMLParser):
        void = ("meta",)
        open_tags, cells = [], 0

        def handle_starttag(self, tag, attributes):
            self.cells += tag == "td"
            if tag not in self.void:
                self.open_tags.append(tag)
            assert not {"src", "href"} & dict(attributes).keys()

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    tags = Tags()
    tags.feed(text)
    assert not tags.open_tags
    assert tags.cells == len(MODELS) * 4
    assert '<th class="first" colspan="2">M2 KnowMem forget ↓</th>' in text
    assert "30.0<small>[29.0, 32.0]</small>" in text
    assert "20 made-up people &amp; 50 %" in text


def test_shading_is_the_share_of_the_target_at_the_same_precision():
    cells = {
        ("bios", model, "full", metric): Cell(value, value, value, 1)
        for model, value in (("target", 80.0), ("ga", 20.0), ("npo", 160.0))
        for metric in ("knowmem_forget", "privleak")
    }
    shade = table_page._shade(cells, "bios", "full", "knowmem_forget")
    assert "0.11" in shade(cells["bios", "ga", "full", "knowmem_forget"])  # 0.45 * 20 / 80
    assert "0.45" in shade(cells["bios", "npo", "full", "knowmem_forget"])  # never stronger than the target
    assert table_page._shade(cells, "bios", "full", "privleak")(cells["bios", "ga", "full", "privleak"]) == ""


def test_notes_state_corpus_seed_formulation_storage_and_batch(table):
    notes = "\n".join(table[2])
    assert "95 % bootstrap intervals over examples; seed 0." in notes
    assert "bios: 20 made-up people & 50 % of them_known; KnowMem forget n = 60, PrivLeak n = 20." in notes
    assert "Formulation of the losses: released for npo_klr." in notes  # ga has one formulation only
    assert "alpha" not in notes
    assert "Weights between unlearning steps: bfloat16 for ga; float32 for npo_klr." in notes
    assert "Evaluation batch 128" in notes


def test_several_seeds_are_averaged_and_the_range_is_given(tmp_path):
    study = read_study(SETTINGS | {"seeds": [1, 0, 2]})
    cells = tables.read_cells(write_metrics(tmp_path / "metrics.csv", (0, 1, 2)), study)
    cell = cells["bios", "npo_klr", "full", "knowmem_forget"]  # 30.04, 32.04, 34.04
    assert (cell.value, cell.low, cell.high, cell.n) == (pytest.approx(32.04), 30.04, 34.04, 60)
    assert "mean over the seeds 0, 1, 2, in brackets the least and the largest" in tables.notes(study, cells, {})[0]


def test_table_3_has_sure_its_bases_and_four_bits():
    entry = {"constrained": True, "storage": "bfloat16", "state_storage": "float32"}
    quantizers = {"int8": {"backend": "rtn", "bits": 8}, "nf4": {"backend": "bitsandbytes", "format": "nf4"}}
    quantizers["prune-10"] = {"backend": "prune", "share": 0.1}
    methods = {
        "npo_klr": entry | {"method": "npo_klr"},
        "npo_klr-lr5e-05-float32": entry | {"method": "npo_klr", "storage": "float32"},
        "mine": entry | {"method": "npo_klr_sure"},
        "ga_klr": entry | {"method": "ga_klr"},
    }
    study = read_study(SETTINGS | {"methods": methods, "quantizers": SETTINGS["quantizers"] | quantizers})
    part = tables.sure_study(study)
    assert list(part.methods) == ["npo_klr", "mine"]
    assert list(part.quantizers) == ["full", "rtn-int4", "nf4"]
    assert r"\label{tab:table3}" in tables.write_tex(part, {}, [], 3)
    with pytest.raises(RelapseError, match="no method ending in _sure"):
        tables.sure_study(read_study(SETTINGS))


def test_a_missing_seed_is_an_error(tmp_path):
    path = write_metrics(tmp_path / "metrics.csv", (0,))
    with pytest.raises(RelapseError, match="bios target full knowmem_forget for 1 of 2 seeds"):
        tables.read_cells(path, read_study(SETTINGS | {"seeds": [0, 1]}))


def test_numbers_have_a_real_minus_and_no_negative_zero():
    assert [tables.number(x) for x in (-0.04, -1.25, 3.0)] == ["0.0", "−1.2", "3.0"]
    assert tables.number(-99.8, 0) == "−100"


def test_script_writes_all_formats_without_torch(tmp_path):
    write_metrics(tmp_path / "metrics.csv")
    arguments = ["--settings", json.dumps(SETTINGS), "--metrics", str(tmp_path / "metrics.csv")]
    arguments += ["--corpora-dir", str(tmp_path / "none")]
    models = tmp_path / "models.csv"
    models.write_text(MISSED)
    arguments += ["--models", str(models)]
    target = tmp_path / "models/bios/target/seed0"
    target.mkdir(parents=True)
    (target / "chat_template.jinja").write_text("{{ messages }}")
    arguments += ["--models-dir", str(tmp_path / "models")]
    for kind in ("csv", "md", "tex", "html"):
        arguments += [f"--{kind}", str(tmp_path / "tables" / f"table1.{kind}")]
    code = f"import runpy, sys; sys.argv = ['table', *{arguments!r}]; "
    code += "runpy.run_module('scripts.table', run_name='__main__'); assert 'torch' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert {path.suffix for path in (tmp_path / "tables").iterdir()} == {".csv", ".md", ".tex", ".html"}
    # Named where it missed its rule, and nowhere else.
    text = "npo_klr reached its limit of steps without meeting its stop rule (bios, seed 0: KnowMem forget 41 %"
    assert text in (tmp_path / "tables/table1.md").read_text()
    assert "ga reached" not in (tmp_path / "tables/table1.md").read_text()
    assert (
        "bios: the target has a chat template, and KnowMem asks without it"
        in (tmp_path / "tables/table1.md").read_text()
    )
