"""The front door and the site tell the truth: what they name exists, and their numbers are the configuration's."""

import re

import pytest
import yaml

from relapse.runtime.registry import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
FOLDERS = "relapse|rules|scripts|schemas|profiles|configs|docs|envs|report|results|tests"
THE_READERS_OWN = ("configs/mine.yaml", "results/default/report.html")
EXAMPLES = re.compile(r"<!-- (relapse/[\w/.]+) -->")  # developing.md's complete files, which are not in the repository


def found(pattern: str, texts: dict[str, str] = TEXTS) -> list[tuple[str, str]]:
    return sorted({(page, word) for page, text in texts.items() for word in re.findall(pattern, text)})


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize(("page", "target"), found(r"(?:`|^)make ([a-z][a-z-]*)\b"))
def test_make_targets_exist(page, target):
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize(("page", "path"), found(rf"`((?:{FOLDERS})/[\w./-]*)`"))
def test_paths_exist(page, path):
    examples = EXAMPLES.findall("".join(TEXTS.values()))
    if path not in THE_READERS_OWN and path not in examples:
        assert (ROOT / path).exists()


@pytest.mark.parametrize(("page", "image"), found(r"!\[[^]]*\]\(([^)]+)\)"))
def test_images_exist(page, image):
    assert ((ROOT / page).parent / image).is_file()


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_front_pages_have_a_figure(page):
    assert "](docs/images/" in TEXTS[page] or "](images/" in TEXTS[page]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"[^!]\[[^]]*\]\(((?!http)[^)#]+)", README))))
def test_links_of_the_readme_lead_somewhere(link):
    assert (ROOT / link).is_file()


def test_the_learning_rate_is_the_one_that_runs():
    stated = re.findall(r"\*\*(\d\.\de-\d)\*\*", TEXTS["docs/studies.md"])
    methods = yaml.safe_load((ROOT / "config.yaml").read_text())["methods"]
    assert {entry["lr"] for entry in methods.values()} == {float(rate) for rate in stated}


def test_the_edges_are_what_the_code_computes():
    from relapse.analysis.bfloat16 import edge

    stated = re.findall(r"^\| (\d\.\de-\d) \| (0\.\d{4}) \|$", TEXTS["docs/theory.md"], re.MULTILINE)
    assert len(stated) >= 5
    for rate, limit in stated:
        assert f"{edge(float(rate)):.4f}" == limit
