"""`relapse score` and `relapse ls`, and things that somebody else's installed package registers."""

import json
import os
import re
import subprocess
import sys

import pytest

from relapse.cli.entries import metric, quantizer
from relapse.cli.listing import KINDS, listing
from relapse.cli.main import parser
from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.corpora.synthetic import Synthetic
from relapse.metrics import METRICS
from relapse.runtime.errors import ConfigError
from relapse.runtime.registry import ROOT
from relapse.unlearning.methods import METHODS


def test_a_quantizer_is_written_in_short():
    assert quantizer("nf4").plain() == quantizer("bitsandbytes,format=nf4").plain() == quantizer("bnb-nf4").plain()
    rtn = quantizer("rtn,bits=4,group_size=128").plain()
    assert (rtn["backend"], rtn["bits"], rtn["group_size"]) == ("rtn", 4, 128)
    assert quantizer("rtn-int8").plain()["group_size"] == "row"
    assert metric("knowmem_forget,max_new_tokens=8") == (
        "knowmem_forget",
        METRICS.settings({"max_new_tokens": 8}, "knowmem_forget"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nf5", ["no quantizer is called 'nf5'", "Did you mean 'nf4'?"]),
        ("rtn,bits", ["'bits' is not key=value", "rtn,bits=4"]),
        ("rtn,bits=4", ["quantizers.rtn.group_size: missing"]),
        ("rtn,bits=4,group_size=128,size=2", ["quantizers.rtn.size: unknown key"]),
        ("rtn,bits=[4,group_size=2", ["cannot read the value of bits"]),
    ],
)
def test_a_wrong_quantizer_is_named(text, words):
    with pytest.raises(ConfigError) as caught:
        quantizer(text)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_everything_registered_is_listed_with_a_meaning(kind):
    lines = list(listing(kind))
    for name in KINDS[kind][0].names():
        (line,) = (line for line in lines if line.startswith(f"{name}  "))
        assert len(line) > len(name) + 12
        assert len(list(listing(kind, name))) > 1 or not KINDS[kind][0].get(name).settings.model_fields


def test_every_method_is_listed_with_the_papers_that_the_documentation_names():
    """docs/methods.md has a row for each loss; its retain terms and SURE's mask are the paper's."""
    papers = {}
    for line in (ROOT / "docs/methods.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and "arxiv.org" in cells[2] and cells[0].startswith("`"):
            papers |= {name.strip("`"): set(re.findall(r"abs/([0-9.]+)", cells[2])) for name in cells[0].split(", ")}
    lines = list(listing("methods"))
    for name in METHODS.names():
        place = next(number for number, line in enumerate(lines) if line.startswith(f"{name}  "))
        losses, *others = lines[place + 1].removeprefix("    source: ").split("; ")
        loss = name.removesuffix("_sure")
        assert papers[loss] <= set(re.findall(r"abs/([0-9.]+)", losses)), lines[place + 1]
        retain, mask = loss.endswith(("_gdr", "_klr")), name.endswith("_sure")
        kinds = ["retain term"] * retain + ["mask"] * mask
        assert others == [f"{kind}: https://arxiv.org/abs/2410.16454" for kind in kinds]
    assert not any("not named" in line for line in lines)


def test_one_thing_is_listed_with_every_key():
    lines = list(listing("quantizers", "rtn"))
    assert any(line.split() == ["bits", "whole", "number,", "≥", "2,", "≤", "8", "required"] for line in lines)
    assert any(line.split()[0] == "keep" for line in lines)
    with pytest.raises(ConfigError, match="unknown quantizer backend 'rtm'"):
        list(listing("quantizers", "rtm"))


@pytest.fixture
def corpus(tmp_path):
    """A small corpus as a folder in MUSE's layout."""
    sizes = {"forget": 2, "retain1": 2, "retain2": 2, "holdout": 2}
    write(Synthetic().read(SOURCES.settings(sizes | {"source": "synthetic"})), tmp_path / "corpus")
    return tmp_path / "corpus"


def score(*arguments):
    args = parser().parse_args(["score", *map(str, arguments)])
    args.do(args)


def test_a_checkpoint_is_scored_as_the_rules_program_does(tiny_llama, corpus, tmp_path, capsys):
    given = ("--model", tiny_llama, "--corpus", corpus, "--quantizer", "rtn,bits=4,group_size=64")
    score(
        *given,
        "--metrics",
        "verbmem_forget,max_new_tokens=4",
        "--limit",
        2,
        "--output",
        tmp_path / "out",
        "--log-samples",
    )
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "out/results.json").read_text())
    samples = [json.loads(line) for line in (tmp_path / "out/samples.jsonl").read_text().splitlines()]
    assert (results["limit"], len(samples), results["scores"]["verbmem_forget"]["n"]) == (2, 2, 2)
    assert results["settings"]["quantizer"] == quantizer("rtn,bits=4,group_size=64").rounding()
    value = sum(sample["score"] for sample in samples) / 2
    assert results["scores"]["verbmem_forget"]["value"] == pytest.approx(value)
    assert [line for line in printed.splitlines() if line.startswith("rtn ") and line.endswith("n = 2")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--log-samples",), "give --output DIR"),
        (("--limit", "0"), "must be at least 1"),
        (("--metrics", "knowmem"), "knowmem"),
    ],
)
def test_wrong_options_are_named_before_anything_is_loaded(tiny_llama, tmp_path, arguments, words):
    with pytest.raises(ConfigError, match=words):
        score("--model", tiny_llama, "--corpus", tmp_path / "none", *arguments)


QUANTIZER = '''"""Sign quantization: every weight becomes its sign times the mean size of its row."""

import torch

from relapse.quantization import BACKENDS, DataFree, layer_shapes
from relapse.quantization.settings import QuantizerSettings


class Sign(DataFree):
    name = "sign"
    settings = QuantizerSettings
    examples = ({},)

    @torch.no_grad()
    def load(self, model_dir, settings, dtype=torch.float32):
        from relapse.models.loading import load_model

        model = load_model(model_dir, dtype=dtype)
        for name in layer_shapes(model):
            weight = model.get_submodule(name).weight
            weight.copy_(self.rounded(weight, settings))
        return model

    def rounded(self, weight, settings):
        return weight.float().sign() * weight.float().abs().mean(dim=1, keepdim=True)


BACKENDS.register(Sign())
'''


@pytest.fixture
def installed(tmp_path):
    """Install a package of one module that registers a quantizer; gives the environment to run in."""

    def install(source):
        place = tmp_path / "site"
        facts = place / "sign_quantizer-1.0.dist-info"
        facts.mkdir(parents=True)
        (place / "sign_quantizer.py").write_text(source)
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: sign-quantizer\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text("[relapse.quantizers]\nsign = sign_quantizer\n")
        (facts / "RECORD").write_text("")
        return os.environ | {"PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}

    return install


def run(environment, *words):
    return subprocess.run([sys.executable, *map(str, words)], env=environment, cwd=ROOT, capture_output=True, text=True)


def test_an_installed_package_registers_a_quantizer(installed, tiny_llama, corpus, tmp_path):
    environment = installed(QUANTIZER)
    listed = run(environment, "-m", "relapse.cli.main", "ls", "quantizers", "sign")
    assert "sign  Sign quantization: every weight becomes its sign" in listed.stdout, listed.stderr
    given = ("--model", tiny_llama, "--corpus", corpus, "--metrics", "verbmem_forget,max_new_tokens=2", "--limit", 1)
    done = run(environment, "-m", "relapse.cli.main", "score", *given, "--quantizer", "sign")
    assert done.returncode == 0 and "\nsign  " in done.stdout, done.stderr
    digest = "from relapse.quantization import BACKENDS; from relapse.runtime.code_digest import digest; from relapse."
    digest += "runtime.registry import ROOT; print(digest(ROOT, BACKENDS.source('sign')))"
    assert len(run(environment, "-c", digest).stdout.strip()) == 16  # so that a study runs again when it changes


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_of_this_name\n", "ModuleNotFoundError"),
        (QUANTIZER.replace('"sign"', '"rtn"'), "registered twice"),
    ],
)
def test_a_package_that_cannot_register_is_named(installed, source, words):
    done = run(installed(source), "-m", "relapse.cli.main", "ls", "quantizers")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the package sign-quantizer registers" in done.stderr and words in done.stderr
