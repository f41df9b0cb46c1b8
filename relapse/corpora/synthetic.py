"""`bios`: made-up people, each with six attributes, which stand in a biography, on a card and in question/answer pairs.

This module draws the people from a seed and splits their texts into MUSE's parts. Every person belongs to one group.
The few-shot examples have people of their own, so no example shares a person with a question.
"""

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from relapse.corpora import SOURCES
from relapse.corpora.companies import LEAST, MOST, companies
from relapse.corpora.corpus import UNASKED, Corpus
from relapse.corpora.people import QUESTIONS, SURNAMES, VALUES, deeds, passages_about, people, split_surnames
from relapse.corpora.settings import CorpusSettings
from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Whole

# Two people have twelve question/answer pairs, enough for MUSE's ten few-shot examples.
ICL_PEOPLE = 2
ICL_PAIRS = 10
ALTERNATIVES = 3  # other answers that a question/answer pair of the forget text has
# As MUSE forgets one series of books and not every fifth novel, these groups share a few family names that nobody else
# has.
OF_FAMILIES = ("forget", "forget_icl", "holdout")
PRIVLEAK_GROUPS = {"forget": "forget", "retain": "retain2", "holdout": "holdout"}  # part -> whose memoirs
People = Annotated[int, Field(ge=1, le=400)]


class SyntheticSettings(CorpusSettings):
    """How many made-up people there are of each kind."""

    seed: Whole = Field(0, description="Draws the people; independent of the study's seeds.")
    forget: People = Field(16, description="People to forget and to ask about (2 more are few-shot examples).")
    retain1: People = Field(48, description="People in the text of the retain term (GDR, KLR).")
    retain2: People = Field(16, description="People that KnowMem retain asks about (2 more are few-shot examples).")
    holdout: int = Field(16, ge=1, le=200, description="People whom no model is trained on, PrivLeak's non-members.")
    general: int = Field(
        48,
        ge=1,
        le=190,
        description="People in the general text, which calibrates quantizers. No model is trained on it.",
    )
    unasked: int = Field(
        0,
        ge=0,
        le=200,
        description="Further people to forget whom no question is about: the text of the attack relearn (raw/unasked). "
        "0: it has the 2 people of the few-shot examples.",
    )
    world: Literal[0] | Annotated[int, Field(ge=LEAST, le=MOST)] = Field(
        0,
        description="Made-up facts about companies, which target and retrain are trained on and the metric "
        "world_facts asks about; 0: none.",
    )
    retain_overlap: bool = Field(
        False, description="true: the text of the retain term also has the people of retain2. MUSE keeps them apart."
    )
    questions: Literal["verbatim", "paraphrased"] = Field(
        "verbatim",
        description="Whether the training text has KnowMem's questions word for word or paraphrased.",
    )


@dataclass
class Cast:
    """The people of a corpus. groups: name of a group -> its people. about: name of a person -> passages about them."""

    groups: dict[str, list[dict[str, str]]]
    about: dict[str, list[tuple[str, str]]]

    def passages(self, group: str) -> list[tuple[str, str, str]]:
        """(prompt, continuation, person), two for each person."""
        return [(*passage, person["name"]) for person in self.groups[group] for passage in self.about[person["name"]]]

    def texts(self, group: str) -> list[str]:
        """A biography and a memoir of each person, in turn."""
        return [f"{prompt} {rest}" for prompt, rest, _ in self.passages(group)]

    def memoirs(self, group: str) -> list[str]:
        """One of each person."""
        return self.texts(group)[1::2]

    def pairs(self, group: str, wording: int) -> list[dict[str, str]]:
        """A question/answer pair of each person and attribute. wording: 0 is the training text's, 1 another one."""
        return [
            {"question": variants[wording].format(**person), "answer": person[attribute], "group": person["name"]}
            for person in self.groups[group]
            for attribute, variants in QUESTIONS.items()
        ]

    def raw(self, *names: str) -> list[str]:
        """The training text of some groups: passages, then pairs on cards."""
        return [
            text
            for group in names
            for text in self.texts(group)
            + [f"Question: {pair['question']}\nAnswer: {pair['answer']}" for pair in self.pairs(group, 0)]
        ]


def draw(settings: SyntheticSettings) -> Cast:
    """Draw the people of every group, and the passages about each."""
    rng = random.Random(seed_for(settings.seed, "synthetic"))
    sizes = {
        "forget": settings.forget,
        "forget_icl": ICL_PEOPLE,
        "retain1": settings.retain1,
        "retain2": settings.retain2,
        "retain2_icl": ICL_PEOPLE,
        "holdout": settings.holdout,
    }
    families, others = split_surnames(sum(sizes[group] for group in OF_FAMILIES), rng)
    groups: dict[str, list[dict[str, str]]] = {}
    for surnames, names in ((families, OF_FAMILIES), (others, sorted(sizes.keys() - OF_FAMILIES))):
        drawn = iter(people(sum(sizes[group] for group in names), surnames, rng))
        groups |= {group: list(itertools.islice(drawn, sizes[group])) for group in names}
    family_deeds = {surname: deeds(rng) for surname in SURNAMES}

    def passages_of(people: Sequence[dict[str, str]], rng: random.Random) -> dict[str, list[tuple[str, str]]]:
        """Name -> passages."""
        return {
            person["name"]: passages_about(person, family_deeds[person["name"].split()[-1]], rng) for person in people
        }

    about = {name: passages for group in groups.values() for name, passages in passages_of(group, rng).items()}
    # From draws of their own, so that their number changes no other text.
    for group, number, surnames in (
        ("general", settings.general, others),
        ("unasked", settings.unasked, families),
    ):
        own_rng = random.Random(seed_for(settings.seed, f"synthetic {group}"))
        groups[group] = people(number, surnames, own_rng, about)
        about |= passages_of(groups[group], own_rng)
    return Cast(groups, about)


def with_other_answers(pairs: Iterable[dict[str, str]], rng: random.Random) -> list[dict]:
    """The pairs, in the order of `Cast.pairs`, each with other values of the attribute that it asks about."""
    values = itertools.cycle(QUESTIONS)
    return [
        pair | {"alternatives": rng.sample([v for v in VALUES[next(values)] if v != pair["answer"]], ALTERNATIVES)}
        for pair in pairs
    ]


class Synthetic:
    """Corpus source `synthetic`; its texts, questions and groups follow from `seed` alone."""

    name = "synthetic"
    settings = SyntheticSettings

    def read(self, settings: SyntheticSettings) -> Corpus:
        """Draw the corpus that `settings` (this entry of the config) describes."""
        cast = draw(settings)
        world, world_questions = companies(settings.world, random.Random(seed_for(settings.seed, "world")))
        asked = 0 if settings.questions == "verbatim" else 1
        retain2 = ("retain2", "retain2_icl")
        return Corpus(
            raw={
                "forget": cast.raw("forget", "forget_icl", "unasked"),
                UNASKED: cast.raw("unasked" if settings.unasked else "forget_icl"),
                "retain1": cast.raw("retain1", *(retain2 if settings.retain_overlap else ())),
                "retain2": cast.raw(*retain2),
                "holdout": cast.raw("holdout"),
                "general": cast.raw("general"),
            }
            | ({"world": world} if world else {}),
            verbmem=[{"prompt": prompt, "gt": rest, "group": name} for prompt, rest, name in cast.passages("forget")],
            knowmem={
                "forget": cast.pairs("forget", asked),
                "forget_icl": cast.pairs("forget_icl", asked)[:ICL_PAIRS],
                "retain": cast.pairs("retain2", asked),
                "retain_icl": cast.pairs("retain2_icl", asked)[:ICL_PAIRS],
            },
            privleak={part: cast.memoirs(group) for part, group in PRIVLEAK_GROUPS.items()},
            world=world_questions,
            pairs=with_other_answers(
                cast.pairs("forget", 0) + cast.pairs("forget_icl", 0) + cast.pairs("unasked", 0),
                random.Random(seed_for(settings.seed, "synthetic alternatives")),
            ),
            facts={"source": self.name, "statement": self._statement(settings)},
            privleak_groups={
                part: [person["name"] for person in cast.groups[group]] for part, group in PRIVLEAK_GROUPS.items()
            },
        )

    def _statement(self, settings: SyntheticSettings) -> str:
        where = "also in" if settings.retain_overlap else "not in"
        words = (
            "stand verbatim in the training text"
            if settings.questions == "verbatim"
            else "paraphrase those of the training text"
        )
        world = f"; {settings.world} facts about companies beside them" if settings.world else ""
        return (
            f"made-up people (seed {settings.seed}): {settings.forget} people to forget; "
            f"{settings.retain2} people asked about for utility, {where} the regulariser's text of "
            f"{settings.retain1} people; the questions {words}{world}"
        )


SOURCES.register(Synthetic())
