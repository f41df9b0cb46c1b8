"""The front door tells the truth: what the README names exists, and its numbers are the configuration's."""

import re

import pytest
import yaml

from relapse.runtime.registry import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z][a-z-]*)\b", README))))
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize(
    "path",
    sorted(set(re.findall(r"`((?:relapse|rules|scripts|schemas|profiles|configs|docs|results)/[\w./-]*)`", README))),
)
def test_paths_exist(path):
    if path not in ("configs/mine.yaml",):  # the reader's own
        assert (ROOT / path).exists()


def test_images_exist():
    images = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert images
    assert all((ROOT / image).is_file() for image in images)


def test_the_learning_rate_is_the_one_that_runs():
    stated = re.findall(r"\*\*(\d\.\de-\d)\*\*", README)
    methods = yaml.safe_load((ROOT / "config.yaml").read_text())["methods"]
    assert {entry["lr"] for entry in methods.values()} == {float(rate) for rate in stated}
