"""The audit of a checkpoint from weights alone: shares, descriptions, verdicts, and what is refused."""

import csv
import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from relapse.audit import page, verdict
from relapse.audit.compare import FORMATS, Survival, Update, compare
from relapse.audit.description import describe, edge, rank
from relapse.cli.main import parser
from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.corpora.synthetic import Synthetic
from relapse.models.files import read_model
from relapse.runtime.errors import ConfigError, RelapseError
from relapse.runtime.registry import ROOT
from scripts import track_record


def copy(folder, to, change):
    """A copy of a model folder whose tensors `change(name, tensor)` has replaced."""
    shutil.copytree(folder, to)
    tensors = {name: change(name, tensor) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, to / "model.safetensors", {"format": "pt"})
    return to


@pytest.fixture
def unlearned(tiny_llama, tmp_path):
    """Every weight of a matrix that is below 0.0078 has moved by a part of its size, as bfloat16 lets it."""
    linear = {f"{layer}.weight" for layer in read_model(tiny_llama).linear}

    def change(name, tensor):
        small = (tensor.float().abs() < 2**-7) & (name in linear)
        return torch.where(small, (tensor.float() * 1.5).clamp(-(2**-7), 2**-7), tensor.float()).bfloat16()

    return copy(tiny_llama, tmp_path / "unlearned", change)


def test_a_grid_that_holds_zero_absorbs_a_small_update_and_a_finer_one_keeps_it(tiny_llama, unlearned):
    """Weights of about 0.09: half a step of int4 is above 0.0078 in every group of 128, and of int8 far below it."""
    (found,) = compare(tiny_llama, [unlearned])
    assert found.formats["rtn-int4-g128"].share == found.formats["rtn-int3-g128"].share == 0
    assert found.formats["rtn-int8"].share == pytest.approx(1, abs=0.05)
    assert found.outside == 0 and found.outside_share == 0
    assert {row.format: row.verdict for row in page.rows(found)}["rtn-int4-g128"] == "absorbed"
    bound, share = edge(found)
    assert bound == 2**-7 and share == 1
    assert "100 % of the squared change lies in weights below 0.0078" in " ".join(describe(tiny_llama, found))


def test_the_share_is_the_formula(tiny_llama, unlearned):
    from relapse.quantization.rtn import dequantize, quantize

    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_llama, unlearned))
    above = below = 0.0
    for layer in read_model(tiny_llama).linear:
        t, u = (tensors[f"{layer}.weight"].float() for tensors in (before, after))
        kept = dequantize(*quantize(u, 4, 32)) - dequantize(*quantize(t, 4, 32))
        above += (kept * (u - t)).sum(dtype=torch.float64).item()
        below += (u - t).square().sum(dtype=torch.float64).item()
    (found,) = compare(tiny_llama, [unlearned], {"rtn-int4-g32": FORMATS["rtn-int4-g32"]})
    assert found.formats["rtn-int4-g32"].share == pytest.approx(above / below)


def test_several_models_are_what_they_are_alone(tiny_llama, unlearned, tmp_path):
    other = copy(tiny_llama, tmp_path / "other", lambda name, tensor: (tensor.float() * 1.01).bfloat16())
    together = compare(tiny_llama, [unlearned, other])
    for one in together:
        (alone,) = compare(tiny_llama, [one.folder])
        assert page.rows(alone) == page.rows(one)


def test_a_merged_adapter_is_known_by_its_rank(tiny_llama, tmp_path):
    torch.manual_seed(0)
    name = "model.layers.0.self_attn.q_proj.weight"
    low = 0.05 * torch.randn(128, 3) @ torch.randn(3, 128)
    merged = copy(tiny_llama, tmp_path / "m", lambda n, t: t.float() + low if n == name else t.float())
    (found,) = compare(tiny_llama, [merged])
    text = " ".join(describe(tiny_llama, found))
    assert "rank 3: 100 % of the change of model.layers.0.self_attn.q_proj.weight" in text
    assert "nothing changed in 13 of 14 matrices" in text
    assert "the target is stored in BF16 and the unlearned model in F32" in " ".join(found.notes)
    assert rank(torch.randn(128, 128)) is None


def test_verdicts_follow_the_stated_rule():
    assert [verdict.of_share(share) for share in (0.0, 0.25, 0.26, 0.74, 0.75, 1.3, None)] == [
        *("absorbed", "absorbed", "cannot tell", "cannot tell", "survives", "survives", "cannot tell")
    ]
    survival = Survival(survived=0.1, squared=1.0)
    most = Update(None, {}, outside=1.0, squared=1.0)  # half of the change lies where formats do not reach
    assert verdict.verdict(most, survival) == "cannot tell"
    assert verdict.verdict(Update(None, {}, outside=0.1, squared=1.0), survival) == "absorbed"


def test_the_track_record_is_that_of_the_findings(tmp_path):
    track_record.write(tmp_path / "record.csv")
    assert (tmp_path / "record.csv").read_bytes() == verdict.RECORD.read_bytes()
    counted = verdict.track_record()
    assert counted["survives"]["recovered"] == 0 and counted["absorbed"]["not detected"] == 0
    assert "absorbed: " in verdict.in_words(counted)[0]


def test_the_command_prints_and_writes_everything(tiny_llama, unlearned, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "relapse.cli.main", "audit", "--target", str(tiny_llama)]
    done = subprocess.run(
        [*command, "--unlearned", str(unlearned), "--output", str(out)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "rtn-int4-g128" in done.stdout and "absorbed" in done.stdout and "Traceback" not in done.stderr
    with (out / "audit.csv").open(newline="") as file:
        assert [row["format"] for row in csv.DictReader(file)] == list(FORMATS)
    written = json.loads((out / "audit.json").read_text())
    assert written["models"][0]["formats"][1]["verdict"] == "absorbed"
    text = (out / "audit.html").read_text()
    assert "src='data:image/png;base64," in text and "http" not in text
    assert (out / "audit.png").read_bytes().startswith(b"\x89PNG")


def test_a_format_that_does_not_fit_says_so(tiny_llama, tmp_path):
    """The matrices are 128 and 384 wide: 128 fits, 96 does not."""
    other = copy(tiny_llama, tmp_path / "other", lambda name, tensor: (tensor.float() * 1.01).bfloat16())
    odd = {"odd": {"backend": "rtn", "bits": 4, "group_size": 96}}
    (found,) = compare(tiny_llama, [other], odd)
    (row,) = page.rows(found)
    assert row.verdict == "does not fit" and "96" in row.unfit and row.surviving is None
    assert "96" in page.as_text(found, [])


def nan(name, tensor):
    return torch.full_like(tensor, torch.nan) if name.endswith("o_proj.weight") else tensor


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda name, tensor: tensor, "equals"),
        (nan, "model.layers.0.self_attn.o_proj.weight has weights that are not finite"),
    ],
)
def test_what_is_no_update_is_refused(tiny_llama, tmp_path, change, words):
    other = copy(tiny_llama, tmp_path / "other", change)
    with pytest.raises(RelapseError, match=words):
        compare(tiny_llama, [other])


def edit_config(folder, **keys):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_models_that_do_not_belong_together_are_refused_before_anything_is_read(tiny_llama, tmp_path):
    def refused(folder, words):
        with pytest.raises(RelapseError, match=words):
            compare(tiny_llama, [folder], report=lambda *_: pytest.fail("it was read"))

    refused(tmp_path / "nowhere", "no such model directory")
    quantized = copy(tiny_llama, tmp_path / "quantized", lambda name, tensor: tensor)
    edit_config(quantized, quantization_config={"quant_method": "fp8"})
    refused(quantized, "quantized")
    fewer = copy(tiny_llama, tmp_path / "fewer", lambda name, tensor: tensor)
    tensors = load_file(fewer / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if "layers.1" not in name},
        fewer / "model.safetensors",
        {"format": "pt"},
    )
    refused(fewer, "lacks the weights")
    edit_config(fewer, num_hidden_layers=1)
    refused(fewer, "different architectures: .*fewer has no model.layers.1")
    wider = copy(tiny_llama, tmp_path / "wider", lambda n, t: torch.cat([t, t]) if t.shape[0] == 320 else t)
    edit_config(wider, vocab_size=640)
    refused(wider, "different sizes: .* is .320, 128. in the first and .640, 128. in the second")


def test_with_a_corpus_both_models_are_scored_and_what_comes_back_is_a_row(tiny_llama, unlearned, tmp_path, capsys):
    """Of random models that know nothing, nothing was forgotten; in full precision nothing differs from the records."""
    sizes = {"forget": 2, "retain1": 2, "retain2": 2, "holdout": 2}
    corpus = Synthetic().read(SOURCES.settings(sizes | {"source": "synthetic"}))
    for part in ("forget_icl", "retain_icl"):  # the tiny model has 512 positions
        corpus.knowmem[part] = corpus.knowmem[part][:2]
    write(corpus, tmp_path / "corpus")
    words = [
        "audit",
        "--target",
        tiny_llama,
        "--unlearned",
        unlearned,
        "--format",
        "rtn-int8",
        "--output",
        tmp_path / "out",
    ]
    args = parser().parse_args([*map(str, words), "--corpus", str(tmp_path / "corpus"), "--limit", "1"])
    args.do(args)
    with (tmp_path / "out/recovery.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    name = f"1-{unlearned.name}"
    assert [(row["model"], row["quantizer"], row["metric"]) for row in rows] == [
        (name, "rtn-int8", metric) for metric in ("verbmem_forget", "knowmem_forget", "knowledge")
    ]
    assert rows[-1]["verdict"] == "nothing forgotten"
    mean = (float(rows[0]["quantized"]) + float(rows[1]["quantized"])) / 2
    assert float(rows[2]["quantized"]) == pytest.approx(mean, abs=1e-4)
    assert "rtn-int8" in capsys.readouterr().out.split("Knowledge of ")[1]
    assert (tmp_path / f"out/records/corpus/{name}/seed0/full.records.jsonl").is_file()
    args.corpus = tmp_path / "none"
    with pytest.raises(ConfigError, match="none"):
        args.do(args)
