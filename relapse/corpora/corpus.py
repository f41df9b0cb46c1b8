"""The one type that every corpus source ends in, and how it is written to disk in MUSE's layout.

The parts of a corpus are MUSE's (arXiv 2407.06460). muse.py reads a folder, handles older file names and reports
errors.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

RAW_PARTS = ("forget", "retain1", "retain2", "holdout")
GENERAL = "general"  # a part that may be missing: MUSE has none
WORLD = "world"  # likewise
UNASKED = "unasked"  # likewise
OPTIONAL_PARTS = (GENERAL, WORLD, UNASKED)
PRIVLEAK_PARTS = ("forget", "retain", "holdout")
KNOWMEM_PARTS = ("forget", "forget_icl", "retain", "retain_icl")
FACTS = "corpus.json"
WORLD_FILE = "utility/world.json"
PAIRS_FILE = "pairs/forget.json"


@dataclass
class Corpus:
    """Text and questions of one corpus.

    raw: part -> training texts (forget; retain1, the regulariser; retain2, what KnowMem retain asks about; holdout),
    and where there is one `general`: text to calibrate quantizers on that no model is trained on or asked about; and
    `world`: facts beside forget and retain, which target and retrain are trained on; and `unasked`: those of the forget
    texts that no question is about.
    verbmem: {"prompt", "gt"} items cut from the forget text.
    knowmem: part -> {"question", "answer"} items; the `_icl` parts are the few-shot examples.
    privleak: part -> texts for Min-K%.
    world: {"question", "choices", "answer" (index of the true choice)} items about the world part; may be empty.
    pairs: {"question", "answer"} items of the forget text, as it is trained on, for methods that unlearn by answering
    otherwise; with "alternatives", a list of other plausible answers, where there are any. May be empty.
    facts: what the tables state about the corpus: "source" and a one-sentence "statement".
    privleak_groups: part -> the group of each privleak text, for the parts whose texts have one.

    An item of verbmem, knowmem or world may have a "group": the person (or book, or chapter) that it is about. Items of
    one group are not independent, and intervals draw them together; a group is the same in all parts.
    """

    raw: dict[str, list[str]]
    verbmem: list[dict[str, str]]
    knowmem: dict[str, list[dict[str, str]]]
    privleak: dict[str, list[str]]
    world: list[dict] = field(default_factory=list)
    pairs: list[dict] = field(default_factory=list)
    facts: dict = field(default_factory=dict)
    privleak_groups: dict[str, list[str]] = field(default_factory=dict)

    def privleak_group(self, part: str, number: int) -> dict[str, str]:
        """{"group": ...} of a privleak text; {} of one without."""
        return {"group": self.privleak_groups[part][number]} if part in self.privleak_groups else {}


def layout(corpus: Corpus) -> dict[str, object]:
    """MUSE's files: path inside the folder -> content."""
    files: dict[str, object] = {
        f"raw/{part}.json": corpus.raw[part] for part in (*RAW_PARTS, *OPTIONAL_PARTS) if part in corpus.raw
    }
    files["verbmem/forget.json"] = corpus.verbmem
    for part in KNOWMEM_PARTS:
        split, _, icl = part.partition("_")
        files[f"knowmem/{split}_qa{'_icl' if icl else ''}.json"] = corpus.knowmem[part]
    for part in PRIVLEAK_PARTS:
        texts, groups = corpus.privleak[part], corpus.privleak_groups.get(part)
        files[f"privleak/{part}.json"] = (
            [{"text": text, "group": group} for text, group in zip(texts, groups, strict=True)] if groups else texts
        )
    if corpus.world:
        files[WORLD_FILE] = corpus.world
    if corpus.pairs:
        files[PAIRS_FILE] = corpus.pairs
    files[FACTS] = corpus.facts
    return files


def write(corpus: Corpus, folder: Path) -> None:
    """Write `corpus` as a folder in MUSE's layout, with the facts for the tables in corpus.json."""
    for name, content in layout(corpus).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
