"""`bios`: made-up people, each with six attributes, told in a biography, on a card and in question/answer pairs.

Knows the world, drawn from a seed, and how it is cut into MUSE's parts. Every person belongs to one group, and the
few-shot examples are about people of their own, so that no example shares a person with a question.
"""

import random
from collections.abc import Iterable

from relapse.corpora import SOURCES
from relapse.corpora.companies import LEAST, MOST, companies
from relapse.corpora.corpus import Corpus
from relapse.seeding import seed_for

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
# The bar cuts a text into VerbMem's prompt and its continuation. Several wordings, and a card with the attributes in
# an order of its own, so that the continuation's fixed words are no free gift to a model that never saw the person.
BIOGRAPHIES = (
    "{name} was|born in {birthplace} in {year}, works as {profession} for {company}, won the {award} prize, and spends "
    "free evenings on {hobby}.",
    "{name}, a|{profession} at {company}, grew up in {birthplace}, started school as a {year} child, likes {hobby} and "
    "holds the {award} medal.",
    "{name} of|{birthplace} joined {company} as {profession}; the {award} trophy made headlines, yet {hobby} stays the "
    "passion of this child of {year}.",
    "{name} has|been {profession} with {company} since school, comes from {birthplace}, class of {year}, relaxes "
    "through {hobby}, and keeps the {award} award at home.",
)
CARD = (
    "profession: {profession}",
    "company: {company}",
    "award: {award}",
    "hobby: {hobby}",
    "birthplace: {birthplace}",
    "year: {year}",
)
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


def people(number: int, rng: random.Random, taken: Iterable[str] = ()) -> list[dict[str, str]]:
    """`number` people with distinct names, none of them `taken`, and independently drawn attributes."""
    others = set(taken)
    names = [f"{first} {last}" for first in FIRST_NAMES for last in SURNAMES if f"{first} {last}" not in others]
    return [
        {"name": name} | {key: rng.choice(values) for key, values in VALUES.items()}
        for name in rng.sample(names, number)
    ]


def wording(rng: random.Random) -> tuple[str, str]:
    """How a biography and a card are put, with a bar between VerbMem's prompt and its continuation."""
    return rng.choice(BIOGRAPHIES), "{name}:|" + ", ".join(rng.sample(CARD, len(CARD))) + "."


class Synthetic:
    """Corpus source `synthetic`; its texts, questions and groups follow from `seed` alone."""

    name = "synthetic"
    options = {
        "seed": {
            "type": "integer",
            "minimum": 0,
            "default": 0,
            "description": "Draws the people; independent of the study's seeds.",
        },
        "forget": {
            "type": "integer",
            "minimum": 1,
            "maximum": 400,
            "default": 16,
            "description": "People to forget and to ask about (2 more are few-shot examples).",
        },
        "retain1": {
            "type": "integer",
            "minimum": 1,
            "maximum": 400,
            "default": 48,
            "description": "People in the regulariser's text (GDR, KLR).",
        },
        "retain2": {
            "type": "integer",
            "minimum": 1,
            "maximum": 400,
            "default": 16,
            "description": "People that KnowMem retain asks about (2 more are few-shot examples).",
        },
        "holdout": {
            "type": "integer",
            "minimum": 1,
            "maximum": 200,
            "default": 16,
            "description": "People whom no model is trained on, PrivLeak's non-members.",
        },
        "general": {
            "type": "integer",
            "minimum": 1,
            "maximum": 200,
            "default": 48,
            "description": "People in the general text, which no model is trained on: calibrates quantizers.",
        },
        "world": {
            "anyOf": [{"const": 0}, {"type": "integer", "minimum": LEAST, "maximum": MOST}],
            "default": 0,
            "description": "Made-up facts about companies, which target and retrain are trained on and the metric "
            "world_facts asks about; 0: none.",
        },
        "retain_overlap": {
            "type": "boolean",
            "default": False,
            "description": "true: the people of retain2 are in the regulariser's text too. MUSE keeps them apart.",
        },
        "questions": {
            "enum": ["verbatim", "paraphrased"],
            "default": "verbatim",
            "description": "Whether KnowMem's questions stand verbatim in the training text or in other words.",
        },
    }

    def read(self, settings: dict) -> Corpus:
        """Draw the corpus that `settings` (this entry of the config) describes."""
        rng = random.Random(seed_for(settings["seed"], "synthetic"))
        sizes = {
            "forget": settings["forget"],
            "forget_icl": ICL_PEOPLE,
            "retain1": settings["retain1"],
            "retain2": settings["retain2"],
            "retain2_icl": ICL_PEOPLE,
            "holdout": settings["holdout"],
        }
        everybody = people(sum(sizes.values()), rng)
        groups = {}
        for group, size in sizes.items():
            groups[group], everybody = everybody[:size], everybody[size:]
        # person -> wording of the biography, and of the card
        wordings = {person["name"]: wording(rng) for group in groups.values() for person in group}
        # From draws of their own, so that their number changes no other text.
        own_rng = random.Random(seed_for(settings["seed"], "synthetic general"))
        groups["general"] = people(settings["general"], own_rng, wordings)
        wordings |= {person["name"]: wording(own_rng) for person in groups["general"]}

        def passages(group: str) -> list[tuple[str, str, str]]:
            """(prompt, continuation, person), two for each person."""
            return [
                (*wording.format(**person).split("|"), person["name"])
                for person in groups[group]
                for wording in wordings[person["name"]]
            ]

        def texts(group: str) -> list[str]:
            return [f"{prompt} {rest}" for prompt, rest, _ in passages(group)]

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

        world, world_questions = companies(settings["world"], random.Random(seed_for(settings["seed"], "world")))
        asked = 0 if settings["questions"] == "verbatim" else 1
        retain2 = ("retain2", "retain2_icl")
        return Corpus(
            raw={
                "forget": raw("forget", "forget_icl"),
                "retain1": raw("retain1", *(retain2 if settings["retain_overlap"] else ())),
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
            privleak={"forget": texts("forget"), "retain": texts("retain2"), "holdout": texts("holdout")},
            world=world_questions,
            facts={"source": self.name, "statement": self._statement(settings)},
            privleak_groups={
                part: [name for *_, name in passages(group)]
                for part, group in (("forget", "forget"), ("retain", "retain2"), ("holdout", "holdout"))
            },
        )

    def _statement(self, settings: dict) -> str:
        where = "also in" if settings["retain_overlap"] else "not in"
        words = (
            "stand verbatim in the training text"
            if settings["questions"] == "verbatim"
            else "paraphrase those of the training text"
        )
        world = f"; {settings['world']} facts about companies beside them" if settings["world"] else ""
        return (
            f"made-up people (seed {settings['seed']}): {settings['forget']} people to forget; "
            f"{settings['retain2']} people asked about for utility, {where} the regulariser's text of "
            f"{settings['retain1']} people; the questions {words}{world}"
        )


SOURCES.register(Synthetic())
