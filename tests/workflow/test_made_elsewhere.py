"""How the models of a study come about: what the jobs of base, target and retrain are given."""

import json
import shutil

import pytest
import yaml
from copies import HERE, new_workflow

LOCAL = {"source": "local"}


@pytest.fixture
def commands(tiny_llama, tmp_path):
    """Change the models of the miniature study: rule -> the command lines of its jobs, in a dry run."""

    def planned(changes: dict, **study) -> dict[str, list[str]]:
        given = shutil.copytree(tiny_llama, tmp_path / "given")
        config = json.loads((given / "config.json").read_text())
        (given / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
        mini = yaml.safe_load((HERE / "mini.yaml").read_text())
        for name, entry in changes.items():
            mini["models"][name] = LOCAL | {"path": str(given)} if entry is LOCAL else mini["models"][name] | entry
        workflow = new_workflow(tmp_path)
        workflow.study.write_text(yaml.safe_dump(mini | study))
        done = workflow.dry_run("--cores", "2", "--printshellcmds")
        assert done.returncode == 0, done.stderr + done.stdout
        lines = [line for line in done.stdout.splitlines() if "-m scripts." in line]
        rules = {line.split("-m scripts.")[1].split()[0] for line in lines}
        return {rule: [line for line in lines if f"-m scripts.{rule} " in line] for rule in rules}

    return planned


def test_only_base_is_linked_in_a_number_format_of_its_own(commands):
    jobs = commands({"base": LOCAL, "retrain": LOCAL})["link_model"]
    assert {("--as-stored" in job, "/base" in job.split("--out")[1]) for job in jobs} == {(True, True), (False, False)}


def test_a_model_is_trained_in_its_own_number_format_or_the_studys(commands):
    """In a study that unlearns in bfloat16."""
    mini = yaml.safe_load((HERE / "mini.yaml").read_text())
    stored = {"storage": "bfloat16", "state_storage": "bfloat16"}
    methods = {name: entry | stored for name, entry in mini["methods"].items()}
    jobs = commands({"target": {"compute": "float32"}}, compute="bfloat16", methods=methods)
    expected = {job.split("--model ")[1].split()[0]: job.split("--compute ")[1].split()[0] for job in jobs["train"]}
    assert expected == {"target": "float32", "retrain": "bfloat16"}
    assert all("--compute bfloat16" in job for job in jobs["unlearn"])
