"""One checkpoint through the plain command, as a user with a model and a MUSE folder runs it."""

import json

import programs
import pytest
import torch
from entries import corpus_settings, metrics_settings, quantizer_settings

from relapse.corpora import SOURCES
from relapse.corpora.corpus import write
from relapse.evaluation.evaluate import evaluate, read_records, write_records
from relapse.evaluation.settings import Evaluation
from relapse.runtime.errors import RelapseError

METRICS = {"verbmem_forget": {"max_new_tokens": 6}, "knowmem_forget": {"max_new_tokens": 6}, "privleak": {}}
FULL = quantizer_settings("full")
SETTINGS = metrics_settings(**METRICS | {"privleak": {"reference": 0.5}})


@pytest.fixture(scope="module")
def muse(tmp_path_factory):
    source = SOURCES.get("synthetic")
    sizes = {"forget": 2, "retain1": 2, "retain2": 2, "holdout": 2}
    folder = tmp_path_factory.mktemp("muse")
    write(source.read(corpus_settings(**sizes)), folder)
    # The tiny model's tokenizer knows few words: one example, so that the prompt stays within 512 tokens.
    for name in ("forget", "retain"):
        path = folder / f"knowmem/{name}_qa_icl.json"
        path.write_text(json.dumps(json.loads(path.read_text())[:1]))
    return folder


def test_several_quantizers_in_one_process_give_the_scores_of_several_processes(tiny_llama, muse, tmp_path):
    """And PrivLeak's reference of the retrain model is its own full precision, which comes first."""
    quantizers = {"full": {"backend": "full"}, "int4": {"backend": "rtn", "bits": 4, "group_size": 64}}
    common = ["--model", tiny_llama, "--corpus", muse, "--metrics", json.dumps(METRICS)]
    files = {kind: [tmp_path / f"{name}.{kind}" for name in quantizers] for kind in ("json", "jsonl")}
    done = programs.run(
        "evaluate",
        *(*common, "--reference", "self", "--quantizer", *map(json.dumps, quantizers.values())),
        *("--quantizer-name", *quantizers, "--out", *files["json"], "--records", *files["jsonl"]),
    )
    assert done.returncode == 0, done.stderr
    references = ("self", files["jsonl"][0])
    for (name, entry), reference, out, records in zip(quantizers.items(), references, *files.values(), strict=True):
        alone, its_records = tmp_path / "alone.json", tmp_path / "alone.jsonl"
        done = programs.run(
            "evaluate",
            *(*common, "--reference", reference, "--quantizer", json.dumps(entry), "--quantizer-name", name),
            *("--out", alone, "--records", its_records),
        )
        assert done.returncode == 0, done.stderr
        assert alone.read_text() == out.read_text()
        assert its_records.read_text() == records.read_text()
    done = programs.run(
        "evaluate", *common, "--quantizer", *map(json.dumps, quantizers.values()), "--out", files["json"][0]
    )
    assert done.returncode == 2 and "there are 2 --quantizer" in done.stderr


def test_the_plain_command(tiny_llama, muse, tmp_path):
    out, records = tmp_path / "scores.json", tmp_path / "records.jsonl"
    done = programs.run(
        "evaluate",
        *("--model", tiny_llama, "--corpus", muse, "--out", out, "--records", records),
        *("--quantizer", json.dumps({"backend": "rtn", "bits": 4, "group_size": 64})),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    # Without a reference there is no PrivLeak, and none is invented.
    assert "privleak is left out: it needs the retrained model's records" in done.stdout
    assert list(result["scores"]) == ["verbmem_forget", "knowmem_forget", "knowmem_retain"]
    assert {name: score["n"] for name, score in result["scores"].items()} == {
        "knowmem_forget": 12,
        "knowmem_retain": 12,
        "verbmem_forget": 4,
    }
    rtn = {"backend": "rtn", "bits": 4, "group_size": 64, "scale": "llmcompressor", "levels": "mid_tread"}
    assert result["settings"]["quantizer"] == rtn
    assert result["settings"]["evaluation"]["batch_size"] == 32
    lines = read_records(records)
    assert len(lines) == 28
    for name, score in result["scores"].items():
        scores = [record["score"] for record in lines if record["metric"] == name]
        assert score["value"] == pytest.approx(sum(scores) / len(scores))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--model": "nowhere"}, ["no such model directory: nowhere"]),
        ({"--corpus": "nowhere"}, ["no such folder: nowhere"]),
        ({"--quantizer": '{"backend": "rnt"}'}, ["unknown quantizer backend 'rnt'", "Did you mean 'rtn'?"]),
        ({"--quantizer": '{"backend": "rtn", "group_size": 48, "bits": 4}'}, ["48", "128"]),
        ({"--metrics": '{"verbmem": {}}'}, ["unknown metric 'verbmem'", "verbmem_forget"]),
        ({"--metrics": '{"privleak": {}}'}, ["PrivLeak", "--reference"]),
    ],
)
def test_wrong_input_is_named_without_a_traceback(tiny_llama, muse, tmp_path, changes, words):
    arguments = {"--model": tiny_llama, "--corpus": muse, "--out": tmp_path / "scores.json"} | changes
    done = programs.run("evaluate", *(word for pair in arguments.items() for word in pair))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "scores.json").exists()


def test_scores_do_not_depend_on_the_batch(tiny_llama, muse):
    results = [evaluate(tiny_llama, muse, FULL, SETTINGS, Evaluation(batch_size=size)) for size in (1, 5, 64)]
    for scores, records in results[1:]:
        for name, score in scores["scores"].items():
            assert score == pytest.approx(results[0][0]["scores"][name], rel=1e-4)
        for one, other in zip(records, results[0][1], strict=True):
            assert one["score"] == pytest.approx(other["score"], rel=1e-4)


def test_retrain_is_its_own_reference(tiny_llama, muse):
    settings = metrics_settings(privleak={})
    _, records = evaluate(tiny_llama, muse, FULL, settings, reference="self")
    result, _ = evaluate(tiny_llama, muse, FULL, settings, reference=records)
    assert result["scores"]["privleak"]["value"] == 0


def test_a_broken_model_gets_no_score(tiny_llama, muse, tmp_path):
    from relapse.models.loading import load_model, load_tokenizer
    from relapse.models.saving import save

    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    save(model, tokenizer, tmp_path / "broken", {})
    with pytest.raises(RelapseError, match="non-finite"):
        evaluate(tmp_path / "broken", muse, FULL, SETTINGS)


def test_missing_weights_are_not_invented(tiny_llama, muse, tmp_path):
    from safetensors.torch import load_file, save_file

    from relapse.models.loading import load_model

    for file in tiny_llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.0.self_attn.q_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(RelapseError, match=r"lacks the weights of model.layers.0.self_attn.q_proj.weight"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--quantizer": '{"backend": "rtn", "bits": 40, "group_size": 64}'}, ["quantizers.quantizer.bits: is 40"]),
        ({"--quantizer": '{"backend": "rtn", "bits": 4}'}, ["quantizers.quantizer.group_size: missing"]),
        ({"--quantizer": '{"format": "nf4"}'}, ["quantizers.quantizer.backend: missing"]),
        ({"--quantizer": '"nf4"'}, ["quantizers.quantizer: is 'nf4' (text), must be a mapping"]),
        ({"--quantizer": '{"backend": "full", "scales": 1}'}, ["quantizers.quantizer.scales: unknown key"]),
        ({"--metrics": '{"knowmem_forget": {"max_new": 4}}'}, ["metrics.knowmem_forget.max_new: unknown key"]),
        ({"--metrics": '{"knowmem_forget": null}'}, ["metrics.knowmem_forget: is"]),
        ({"--metrics": "{}"}, ["--metrics: write a mapping of metrics"]),
        ({"--evaluation": '{"batchsize": 4}'}, ["evaluation.batchsize: unknown key", "batch_size"]),
        ({"--evaluation": "[]"}, ["evaluation: is an empty list"]),
        ({"--out": "docs"}, ["docs is a folder: name a file"]),
    ],
)
def test_what_a_study_refuses_is_refused_on_the_command_line(tiny_llama, muse, tmp_path, changes, words):
    arguments = {"--model": tiny_llama, "--corpus": muse, "--out": tmp_path / "scores.json"} | changes
    done = programs.run("evaluate", *(word for pair in arguments.items() for word in pair))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "scores.json").exists()


def test_what_is_not_json_is_named(tmp_path):
    done = programs.run(
        "evaluate", "--model", "x", "--corpus", "y", "--out", tmp_path / "scores.json", "--metrics", "knowmem_forget"
    )
    assert done.returncode == 2 and "--metrics: 'knowmem_forget' is not JSON" in done.stderr


def test_a_reference_without_privleak_records_is_named(tiny_llama, muse, tmp_path):
    records = tmp_path / "records.jsonl"
    write_records([{"metric": "knowmem_forget", "score": 1.0}], records)
    done = programs.run(
        "evaluate",
        *("--model", tiny_llama, "--corpus", muse, "--out", tmp_path / "scores.json"),
        *("--metrics", '{"privleak": {}}', "--reference", records),
    )
    assert done.returncode == 1 and "the reference holds no PrivLeak records" in done.stderr
