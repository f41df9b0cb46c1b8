"""The report's captions render from a study's config, with one seed and with several."""

from pathlib import Path
from types import SimpleNamespace

import docutils.core
import jinja2
import pytest

REPORT = Path(__file__).resolve().parent.parent / "report"
FIGURES = REPORT.parent / "relapse" / "report"
CONFIG = {
    "study": "toy",
    "corpora": {"bios": {"source": "synthetic"}},
    "seeds": [0],
    "methods": {"npo_klr": {}, "ga": {}},
    "quantizers": {"full": {"backend": "full"}},
    "metrics": {"privleak": {"reference": 0.4772}},
}


# A caption that several results share, and which result it is asked for.
SHARED = {
    "table": [{"number": number} for number in "123"],
    "figure": [{"figure": name.stem.removesuffix("_figure")} for name in sorted(FIGURES.glob("*_figure.py"))],
}
ASKED = [(path, which) for path in sorted(REPORT.glob("*.rst")) for which in SHARED.get(path.stem, [{}])]


def render(path: Path, config: dict, **which: str) -> str:
    """HTML of a caption. An undefined name or bad reStructuredText is an error."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # Snakemake's
    template = environment.from_string(path.read_text(encoding="utf-8"))
    text = template.render(snakemake=SimpleNamespace(config=config, wildcards=SimpleNamespace(**which)))
    settings = {"halt_level": 2, "report_level": 2}
    return docutils.core.publish_parts(text, writer="html", settings_overrides=settings)["html_body"]


@pytest.mark.parametrize("changes", [{}, {"seeds": [0, 1]}, {"metrics": {}}], ids=["one-seed", "two-seeds", "defaults"])
@pytest.mark.parametrize(("path", "which"), ASKED)
def test_caption_renders(path, which, changes):
    if which != {"figure": "time"}:  # which has a caption of its own
        assert "<p>" in render(path, CONFIG | changes, **which)


def test_captions_say_what_the_config_says():
    assert "toy" in render(REPORT / "workflow.rst", CONFIG)
    assert "0.4772, as configured" in render(REPORT / "table.rst", CONFIG, number="1")
    assert "retrain model of the same seed" in render(REPORT / "table.rst", CONFIG | {"metrics": {}}, number="1")
    assert "lm-evaluation-harness" not in render(REPORT / "table.rst", CONFIG, number="1")
    harness = {"mmlu": {"tasks": ["mmlu_stem", "mmlu_other"]}, "truthfulqa": {}, "triviaqa": {"measure": "f1"}}
    utility = render(
        REPORT / "table.rst", CONFIG | {"metrics": harness | {"fluency": {}, "world_facts": {}}}, number="1"
    )
    for words in ("mmlu_stem, mmlu_other", "truthfulqa_mc2", "f1 of its answers", "128 tokens", "guessing scores 25"):
        assert words in utility
    assert "one seed" in render(REPORT / "figure.rst", CONFIG, figure="retained_knowledge").lower()
    several = render(REPORT / "figure.rst", CONFIG | {"seeds": [3, 5]}, figure="retained_knowledge")
    assert "t intervals over the seeds 3, 5" in several
