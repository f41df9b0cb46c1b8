"""The report's captions render from a study's config, with one seed and with several."""

from pathlib import Path
from types import SimpleNamespace

import docutils.core
import jinja2
import pytest

REPORT = Path(__file__).resolve().parent.parent / "report"
CONFIG = {
    "study": "toy",
    "corpora": {"bios": {"source": "synthetic"}},
    "seeds": [0],
    "methods": {"npo_klr": {}, "ga": {}},
    "quantizers": {"full": {"backend": "full"}},
    "metrics": {"privleak": {"reference": 0.4772}},
}


def render(path: Path, config: dict) -> str:
    """HTML of a caption. An undefined name or bad reStructuredText is an error."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # Snakemake's
    template = environment.from_string(path.read_text(encoding="utf-8"))
    text = template.render(snakemake=SimpleNamespace(config=config))
    settings = {"halt_level": 2, "report_level": 2}
    return docutils.core.publish_parts(text, writer="html", settings_overrides=settings)["html_body"]


@pytest.mark.parametrize("changes", [{}, {"seeds": [0, 1]}, {"metrics": {}}], ids=["one-seed", "two-seeds", "defaults"])
@pytest.mark.parametrize("path", sorted(REPORT.glob("*.rst")), ids=lambda path: path.stem)
def test_caption_renders(path, changes):
    assert "<p>" in render(path, CONFIG | changes)


def test_captions_say_what_the_config_says():
    assert "toy" in render(REPORT / "workflow.rst", CONFIG)
    assert "0.4772, as configured" in render(REPORT / "table1.rst", CONFIG)
    assert "retrain model of the same seed" in render(REPORT / "table1.rst", CONFIG | {"metrics": {}})
    assert "lm-evaluation-harness" not in render(REPORT / "table1.rst", CONFIG)
    harness = {"mmlu": {"tasks": ["mmlu_stem", "mmlu_other"]}, "truthfulqa": {}, "triviaqa": {"measure": "f1"}}
    utility = render(REPORT / "table1.rst", CONFIG | {"metrics": harness | {"fluency": {}, "world_facts": {}}})
    for words in ("mmlu_stem, mmlu_other", "truthfulqa_mc2", "f1 of its answers", "128 tokens", "guessing scores 25"):
        assert words in utility
    assert "one seed" in render(REPORT / "retained_knowledge.rst", CONFIG).lower()
    several = render(REPORT / "retained_knowledge.rst", CONFIG | {"seeds": [3, 5]})
    assert "t intervals over the seeds 3, 5" in several
