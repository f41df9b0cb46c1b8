"""A study file as YAML: what is no mapping, keys that stand twice, and how its problems are reported."""

from pathlib import Path

import pytest
from small_study import MINIMAL

from relapse.runtime.errors import ConfigError
from relapse.study import config


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "study.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_key_that_stands_twice_is_named_with_both_lines(tmp_path):
    path = written(tmp_path, "methods:\n  ga: {lr: 1.0e-5}\n  npo: {lr: 1.0e-5}\n  ga: {lr: 2.0e-5}\n")
    with pytest.raises(ConfigError, match="'ga' stands twice, in lines 2 and 4") as caught:
        config.read_yaml(path)
    assert str(path) in str(caught.value)


def test_merged_keys_may_be_overridden(tmp_path):
    text = "a: {b: &x {<<: {k: 1}, k: 2}}\nc: {<<: *x, k: 3}\nd: *x\n"
    assert config.read_yaml(written(tmp_path, text)) == {"a": {"b": {"k": 2}}, "c": {"k": 3}, "d": {"k": 2}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a\n- b\n", "a mapping"),
        ("just text", "a mapping"),
        ("a: [1, 2\nb: 3\n", "line 2"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: !!python/object:os.system {}\n", "not valid YAML"),
        ("{[1]: 2}: 3\n", "not valid YAML"),
        ("a: 2024-13-45\n", "not valid YAML"),
        (b"a: \xff\xfe\n", "not valid YAML"),
        (b"a: \x00\n", "not valid YAML"),
    ],
)
def test_what_is_no_mapping_in_yaml_is_refused_with_the_file(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=words) as caught:
        config.read_yaml(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        config.read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot read"):
        config.read_yaml(tmp_path)


def test_a_mapping_inside_itself_is_refused(tmp_path):
    path = written(tmp_path, MINIMAL + "evaluation: &a {batch_size: *a}\n")
    with pytest.raises(ConfigError, match=r"evaluation\.batch_size"):
        config.load(path)


def test_load_names_the_file_and_counts_the_problems(tmp_path):
    path = written(tmp_path, MINIMAL.replace("1.0e-5", "1e-5") + "sedes: [0]\n")
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    first, *others = str(caught.value).splitlines()
    assert first == f"{path} has 2 problems:" and len(others) == 2
