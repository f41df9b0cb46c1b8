"""Real input: a folder in MUSE's layout and model directories made elsewhere, through the whole workflow."""

import csv
import json

import pytest
import torch
import yaml
from copies import new_workflow
from entries import corpus_settings

from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.models.loading import load_tokenizer
from relapse.models.random_base import build_base, train_tokenizer
from relapse.models.saving import save

ARCHITECTURE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 640,
}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What a user brings: a MUSE folder (older spelling, raw text as .txt), target and retrain directories."""
    folder = tmp_path_factory.mktemp("given")
    source = SOURCES.get("synthetic")
    corpus = source.read(corpus_settings(forget=2, retain1=2, retain2=2, holdout=2))
    muse = folder / "muse"
    write(corpus, muse)
    (muse / "corpus.json").unlink()
    for part, texts in corpus.raw.items():
        (muse / f"raw/{part}.json").unlink()
        (muse / f"raw/{part}.txt").write_text("\n\n".join(texts), encoding="utf-8")
    (muse / "knowmem/retain_qa.json").rename(muse / "knowmem/retain2_qa.json")
    (muse / "knowmem/retain_qa_icl.json").rename(muse / "knowmem/retain2_qa_icl.json")
    tokenizer = train_tokenizer([text for texts in corpus.raw.values() for text in texts], 512)
    for seed, name in enumerate(("target", "retrain")):
        save(build_base(ARCHITECTURE, seed, tokenizer), tokenizer, folder / name, {})
    return folder


@pytest.fixture
def study(given):
    return {
        "study": "muse",
        "seeds": [0],
        "corpora": {"news": {"source": "muse", "path": str(given / "muse")}},
        "models": {name: {"source": "local", "path": str(given / name)} for name in ("target", "retrain")},
        "methods": {"ga_klr": {"lr": 1.0e-3, "epochs": 1, "batch_size": 2, "max_length": 64, "alpha": 1.0}},
        "quantizers": {"full": {"backend": "full"}, "bnb-nf4": {"backend": "bitsandbytes", "format": "nf4"}},
        "metrics": {
            "verbmem_forget": {"max_new_tokens": 8, "decoding": "sample"},
            "knowmem_forget": {"max_new_tokens": 8},
            "knowmem_retain": {"max_new_tokens": 8},
            "privleak": {"k": 40, "reference": 0.4772},
        },
        "evaluation": {"batch_size": 16, "bootstrap_samples": 100},
    }


def write_study(study, path):
    path.write_text(yaml.safe_dump(study))
    return path


def test_a_users_folder_and_models_through_the_whole_workflow(study, given, tmp_path):
    workflow = new_workflow(tmp_path)
    done = workflow.snakemake("--cores", "2", "--until", "collect", study=write_study(study, tmp_path / "muse.yaml"))
    assert done.returncode == 0, done.stderr
    results = workflow.directory / "results/muse"
    with (results / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 4
    assert {row["corpus"] for row in rows} == {"news"}
    # Models made elsewhere are linked, not copied; and long raw text was cut into windows of max_length tokens.
    weights = results / "models/news/target/seed0/model.safetensors"
    assert weights.is_symlink() and weights.resolve() == (given / "target/model.safetensors").resolve()
    training = json.loads((results / "models/news/ga_klr/seed0/training.json").read_text())
    tokenizer = load_tokenizer(given / "target")
    tokens = len(tokenizer((given / "muse/raw/forget.txt").read_text(), add_special_tokens=False)["input_ids"])
    windows = -(-(tokens + 1) // 63)
    assert training["history"][-1]["step"] == -(-windows // 2)
    assert workflow.planned(tmp_path / "muse.yaml") == {
        "absorption news-ga_klr-0",
        "absorption_table",
        "models_table",
        "retained",
        "recovery",
        "table table1",
        "figure retained_knowledge",
        "figure survival",
        "figure grid",
        "timings",
        "costs",
    }
    # A changed weights file of the user's makes everything downstream stale.
    config = given / "retrain/config.json"
    config.write_text(config.read_text() + "\n")
    assert "link_model news-retrain-seed0" in workflow.planned(tmp_path / "muse.yaml")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda study, given: study["corpora"]["news"].update(path="nowhere"), ["corpora.news", "nowhere"]),
        (
            lambda study, given: study["models"]["target"].update(path=str(given)),
            ["models.target", "config.json"],
        ),
        (lambda study, given: study["methods"].update(ga_kr=study["methods"].pop("ga_klr")), ["ga_kr", "Did you mean"]),
        (lambda study, given: study["methods"]["ga_klr"].update(lr="1e-5"), ["methods.ga_klr.lr", "1.0e-5"]),
        pytest.param(
            lambda study, given: study.update(gpu=True),
            ["gpu: true, and torch sees no GPU here", "gpu: false"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        pytest.param(
            lambda study, given: study["quantizers"].update(
                old={"backend": "autogptq", "group_size": 32, "calibration": "retain", "sample_length": 64}
            ),
            ["quantizers.old", "CUDA GPU", "use gptq-int4"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_wrong_input_stops_before_anything_runs(study, given, tmp_path, edit, words):
    workflow = new_workflow(tmp_path)
    edit(study, given)
    done = workflow.snakemake("--cores", "1", study=write_study(study, tmp_path / "wrong.yaml"))
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    for word in words:
        assert word in output
    assert not (workflow.directory / "results").exists()
