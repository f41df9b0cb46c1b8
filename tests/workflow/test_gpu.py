"""AutoGPTQ, which needs a GPU, on a machine that has none: no run begins, and a job on a cluster names what to use."""

import programs
import pytest
import torch
import yaml
from copies import new_workflow
from entries import corpus_settings

from relapse.corpora import SOURCES
from relapse.corpora.corpus import write

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
TOLD = "AutoGPTQ quantizes on a CUDA GPU only, and there is none here: use gptq-int4 (backend: gptq), the maintained"


@pytest.fixture
def workflow(tmp_path):
    """A study that asks for AutoGPTQ."""
    workflow = new_workflow(tmp_path)
    study = yaml.safe_load(workflow.study.read_text())
    study["quantizers"]["autogptq-int4"] = {"backend": "autogptq", "group_size": 64, "sample_length": 64}
    workflow.study.write_text(yaml.safe_dump(study))
    return workflow


def test_asking_for_autogptq_ends_before_any_job_without_a_traceback(workflow):
    done = workflow.snakemake("--cores", "1")
    assert done.returncode == 1
    assert f"error: quantizers.autogptq-int4: {TOLD}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (workflow.directory / "results").exists()


def test_a_dry_run_shows_its_jobs_and_the_environment_that_they_wait_for(workflow):
    """One environment quantizes, the other one scores: for every model, since the entry names no methods."""
    done = workflow.dry_run("--cores", "1")
    assert done.returncode == 0, done.stderr
    jobs = [line.split() for line in done.stdout.splitlines() if len(line.split()) == 2]
    counts = {name: count for name, count in jobs if count.isdigit()}
    assert counts["environment"] == "2"
    # gptq-int4 is for target, retrain and npo_klr alone; every quantizer's checkpoint of the target is kept.
    assert (counts["quantize"], counts["quantize_and_delete"]) == ("2", str(4 + 2))
    assert counts["evaluate"] == str(5 * 3 + 3)


def test_on_a_cluster_the_job_says_so(tiny_llama, tmp_path):
    source = SOURCES.get("synthetic")
    sizes = {"forget": 2, "retain1": 2, "retain2": 2, "holdout": 2, "general": 4}
    write(source.read(corpus_settings(**sizes)), tmp_path / "corpus")
    done = programs.run(
        *("quantize", "--model", tiny_llama, "--out", tmp_path / "out", "--corpus", tmp_path / "corpus"),
        *("--quantizer", '{"backend": "autogptq", "group_size": 64}'),
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: autogptq in ")
    assert TOLD in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
