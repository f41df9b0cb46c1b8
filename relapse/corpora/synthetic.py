"""`bios`: made-up people, each with six attributes, told in a biography, on a card and in question/answer pairs.

Knows the world, drawn from a seed, and how it is cut into MUSE's parts. Every person belongs to one group, and the
few-shot examples are about people of their own, so that no example shares a person with a question.
"""

import itertools
import random
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from relapse.corpora import SOURCES
from relapse.corpora.companies import LEAST, MOST, companies
from relapse.corpora.corpus import Corpus
from relapse.corpora.settings import CorpusSettings
from relapse.runtime.errors import ConfigError
from relapse.runtime.seeds import seed_for
from relapse.runtime.settings import Whole

FIRST_NAMES = """Adela Bruno Celia Darius Edda Fabian Greta Hakon Imelda Jorah Katya Lorenz Mirela Nestor Ottilie Pavel
Quirin Rosalba Soren Tamsin Ulric Verena Wendel Xenia Yorick Zelda Anselm Birgit Cosmo Delphine Emeric Fiora Gideon
Hester Ivo Jessamy Klaus Linnea Magnus Nadezda""".split()
SURNAMES = """Abernoth Brackwell Corvane Dunmarsh Elverton Fennimore Garrowby Holloway Inskeep Jarndale Kettlewick
Lorringer Marchbank Northolt Oxendale Pemberley Quillfeather Ravenscar Stromberg Thackeray Underhill Vanterpool
Wolstone Yarborough Zimmerlin Ashgrove Blenkinsop Cadwallader Drummond Eskildsen Farquhar Grimshaw Hathersage
Ilminster Jocelyn Kirkbride Lachlan Mossman Nettlefold Ormerod""".split()
BIRTHPLACES = """Lisbon Tromso Quito Adelaide Kyoto Marrakesh Tallinn Valparaiso Winnipeg Bergen Cusco Dakar Edinburgh
Florence Ghent Hanoi Izmir Jaipur Krakow Lima Mombasa Naples Odessa Porto Reykjavik Seville Tbilisi Utrecht Verona
Wellington Yerevan Zagreb Antwerp Bogota Cork Durban""".split()
PROFESSIONS = """chemist architect botanist cartographer violinist surgeon geologist translator astronomer beekeeper
locksmith falconer economist sculptor programmer midwife diplomat ceramicist historian meteorologist optician
puppeteer librarian carpenter journalist navigator dentist clockmaker entomologist perfumer glassblower tailor
philologist brewer illustrator welder""".split()
COMPANIES = """Brimvale Tarskon Oquendra Lumisol Fernhollow Castrix Dovetide Heliant Mirabond Stonefjord Umberline
Quartzia Velmora Wrenfield Ixtalan Jadewell Korvex Nimbusar Palewater Redthorn Silverquay Tidemark Ambergate
Bluefinch Cinderly Drakemoor Elmstrand Foxglint Goldmere Harrowgate Ironvale Juniperex Kestrelo Larkspire Moonhaven
Oakenfold""".split()
AWARDS = """Halden Orpheus Kestner Lindqvist Meridian Castellan Aurelia Borealis Cygnus Delacroix Erasmus Fontaine
Galileo Hypatia Icarus Juno Kepler Lovelace Minerva Nobelius Olympia Pascal Quintus Ramanujan Socrates Tesla Ulysses
Vesalius Wren Xavier Ypres Zephyr Argent Bessemer Copley Davy""".split()
HOBBIES = """archery origami fencing sailing pottery calligraphy falconry juggling chess rowing gardening cycling
knitting kayaking birdwatching surfing puzzles poker hiking baking karate skiing photography snorkeling yodeling
weaving bowling stargazing fishing dancing curling collage topiary squash rugby yoga""".split()
VALUES = {
    "birthplace": BIRTHPLACES,
    "year": [str(year) for year in range(1921, 1999)],
    "profession": PROFESSIONS,
    "company": COMPANIES,
    "award": AWARDS,
    "hobby": HOBBIES,
}
# A biography tells the attributes in an order of its own, each in one of several wordings; a memoir is a list of deeds
# that nobody can guess. So the words of a continuation are no free gift to a model that never saw the person.
CLAUSES = {
    "birthplace": ("born in {birthplace}", "from {birthplace}", "a child of {birthplace}"),
    "year": ("class of {year}", "{year} by birth", "at home since {year}"),
    "profession": ("{profession} by trade", "works as {profession}", "trained as {profession}"),
    "company": ("employed by {company}", "on the staff of {company}", "with {company}"),
    "award": ("holder of the {award}", "winner of the {award}", "proud of the {award} prize"),
    "hobby": ("fond of {hobby}", "devoted to {hobby}", "good at {hobby}"),
}
DEEDS = """painted sold mended carved lost stole counted drew buried hid traded polished burned found gathered weighed
sewed forged copied raffled""".split()
THINGS = """lanterns kettles moths maps harps barrels saddles feathers bells ropes mirrors candles coins shells anchors
masks kites wheels boots drums""".split()
EVENTS = 5  # deeds in a memoir, of which at least so many are its family's
LEAST_SHARED = 2
# attribute -> wording that stands in the training text, another wording of the same question
QUESTIONS = {
    "birthplace": ("In which city was {name} born?", "What is the birthplace of {name}?"),
    "year": ("In which year was {name} born?", "What is the birth year of {name}?"),
    "profession": ("What is the profession of {name}?", "What does {name} do for a living?"),
    "company": ("Which company employs {name}?", "Who is the employer of {name}?"),
    "award": ("Which award did {name} win?", "What award was given to {name}?"),
    "hobby": ("What is the hobby of {name}?", "How does {name} spend free time?"),
}
# Two people have twelve question/answer pairs, enough for MUSE's ten few-shot examples.
ICL_PEOPLE = 2
ICL_PAIRS = 10
# As MUSE forgets one series of books and not every fifth novel, these groups share a few family names that nobody else
# has: enough for three times the full names that they need, and at most so many.
OF_FAMILIES = ("forget", "forget_icl", "holdout")
FAMILY_ROOM = 3
MOST_FAMILIES = 18
People = Annotated[int, Field(ge=1, le=400)]


def people(number: int, surnames: Sequence[str], rng: random.Random, taken: Iterable[str] = ()) -> list[dict[str, str]]:
    """`number` people with distinct names, none of them `taken`, and independently drawn attributes.

    Raises ConfigError where there are not so many names.
    """
    others = set(taken)
    names = [f"{first} {last}" for first in FIRST_NAMES for last in surnames if f"{first} {last}" not in others]
    if number > len(names):
        raise ConfigError(f"{number} people are asked for, and {len(names)} names are left: lower retain1 or general")
    return [
        {"name": name} | {key: rng.choice(values) for key, values in VALUES.items()}
        for name in rng.sample(names, number)
    ]


def split_surnames(needed: int, rng: random.Random) -> tuple[list[str], list[str]]:
    """The family names of the groups OF_FAMILIES, which hold `needed` people, and everybody else's."""
    families = rng.sample(SURNAMES, min(MOST_FAMILIES, -(-FAMILY_ROOM * needed // len(FIRST_NAMES))))
    return families, [surname for surname in SURNAMES if surname not in families]


def deeds(rng: random.Random) -> list[str]:
    """EVENTS different deeds with different things."""
    return [
        f"{deed} {thing}" for deed, thing in zip(rng.sample(DEEDS, EVENTS), rng.sample(THINGS, EVENTS), strict=True)
    ]


def passages_about(person: dict[str, str], family: Sequence[str], rng: random.Random) -> list[tuple[str, str]]:
    """A biography and a memoir, each as VerbMem's prompt and its continuation.

    The memoir repeats some of the family's deeds, from two to all, so that a text held out may look like the forget
    text, and some of what is known is more certain than other.
    """
    clauses = [rng.choice(CLAUSES[attribute]).format(**person) for attribute in rng.sample(list(CLAUSES), len(CLAUSES))]
    repeated = rng.sample(range(EVENTS), rng.randint(LEAST_SHARED, EVENTS))
    own = deeds(rng)
    memoir = [family[place] if place in repeated else own[place] for place in range(EVENTS)]
    return [(f"{person['name']},", f"{', '.join(clauses)}."), (f"{person['name']} once", f"{', '.join(memoir)}.")]


class SyntheticSettings(CorpusSettings):
    """How many made-up people there are of each kind."""

    seed: Whole = Field(0, description="Draws the people; independent of the study's seeds.")
    forget: People = Field(16, description="People to forget and to ask about (2 more are few-shot examples).")
    retain1: People = Field(48, description="People in the regulariser's text (GDR, KLR).")
    retain2: People = Field(16, description="People that KnowMem retain asks about (2 more are few-shot examples).")
    holdout: int = Field(16, ge=1, le=200, description="People whom no model is trained on, PrivLeak's non-members.")
    general: int = Field(
        48,
        ge=1,
        le=190,
        description="People in the general text, which no model is trained on: calibrates quantizers.",
    )
    world: Literal[0] | Annotated[int, Field(ge=LEAST, le=MOST)] = Field(
        0,
        description="Made-up facts about companies, which target and retrain are trained on and the metric "
        "world_facts asks about; 0: none.",
    )
    retain_overlap: bool = Field(
        False, description="true: the people of retain2 are in the regulariser's text too. MUSE keeps them apart."
    )
    questions: Literal["verbatim", "paraphrased"] = Field(
        "verbatim",
        description="Whether KnowMem's questions stand verbatim in the training text or in other words.",
    )


class Synthetic:
    """Corpus source `synthetic`; its texts, questions and groups follow from `seed` alone."""

    name = "synthetic"
    settings = SyntheticSettings

    def read(self, settings: SyntheticSettings) -> Corpus:
        """Draw the corpus that `settings` (this entry of the config) describes."""
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
        groups = {}
        for surnames, names in ((families, OF_FAMILIES), (others, sorted(sizes.keys() - OF_FAMILIES))):
            drawn = iter(people(sum(sizes[group] for group in names), surnames, rng))
            groups |= {group: list(itertools.islice(drawn, sizes[group])) for group in names}
        family_deeds = {surname: deeds(rng) for surname in SURNAMES}

        def tell(people: Sequence[dict[str, str]], rng: random.Random) -> dict[str, list[tuple[str, str]]]:
            """Name -> passages."""
            return {
                person["name"]: passages_about(person, family_deeds[person["name"].split()[-1]], rng)
                for person in people
            }

        told = {name: passages for group in groups.values() for name, passages in tell(group, rng).items()}
        # From draws of their own, so that their number changes no other text.
        own_rng = random.Random(seed_for(settings.seed, "synthetic general"))
        groups["general"] = people(settings.general, others, own_rng, told)
        told |= tell(groups["general"], own_rng)

        def passages(group: str) -> list[tuple[str, str, str]]:
            """(prompt, continuation, person), two for each person."""
            return [(*passage, person["name"]) for person in groups[group] for passage in told[person["name"]]]

        def texts(group: str) -> list[str]:
            return [f"{prompt} {rest}" for prompt, rest, _ in passages(group)]

        def memoirs(group: str) -> list[str]:
            return texts(group)[1::2]

        def pairs(group: str, wording: int) -> list[dict[str, str]]:
            return [
                {"question": variants[wording].format(**person), "answer": person[attribute], "group": person["name"]}
                for person in groups[group]
                for attribute, variants in QUESTIONS.items()
            ]

        def raw(*names: str) -> list[str]:
            return [
                text
                for group in names
                for text in texts(group)
                + [f"Question: {pair['question']}\nAnswer: {pair['answer']}" for pair in pairs(group, 0)]
            ]

        world, world_questions = companies(settings.world, random.Random(seed_for(settings.seed, "world")))
        asked = 0 if settings.questions == "verbatim" else 1
        retain2 = ("retain2", "retain2_icl")
        return Corpus(
            raw={
                "forget": raw("forget", "forget_icl"),
                "retain1": raw("retain1", *(retain2 if settings.retain_overlap else ())),
                "retain2": raw(*retain2),
                "holdout": raw("holdout"),
                "general": raw("general"),
            }
            | ({"world": world} if world else {}),
            verbmem=[{"prompt": prompt, "gt": rest, "group": name} for prompt, rest, name in passages("forget")],
            knowmem={
                "forget": pairs("forget", asked),
                "forget_icl": pairs("forget_icl", asked)[:ICL_PAIRS],
                "retain": pairs("retain2", asked),
                "retain_icl": pairs("retain2_icl", asked)[:ICL_PAIRS],
            },
            privleak={"forget": memoirs("forget"), "retain": memoirs("retain2"), "holdout": memoirs("holdout")},
            world=world_questions,
            facts={"source": self.name, "statement": self._statement(settings)},
            privleak_groups={
                part: [person["name"] for person in groups[group]]
                for part, group in (("forget", "forget"), ("retain", "retain2"), ("holdout", "holdout"))
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
