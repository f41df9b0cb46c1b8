"""Made-up people with six attributes each: their names, the texts about them and the questions.

This module has the vocabulary and draws people from it. The corpus decides which models are trained on whom.
"""

import random
from collections.abc import Iterable, Sequence

from relapse.runtime.errors import ConfigError

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
# A biography gives the attributes in an order of its own, each in one of several wordings; a memoir is a list of deeds
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
# Family names that two groups alone share: enough for three times the full names that they need, and at most so many.
FAMILY_ROOM = 3
MOST_FAMILIES = 18


def people(number: int, surnames: Sequence[str], rng: random.Random, taken: Iterable[str] = ()) -> list[dict[str, str]]:
    """`number` people with distinct names, none of them `taken`, and independently drawn attributes.

    Raises ConfigError where there are not so many names.
    """
    others = set(taken)
    names = [f"{first} {last}" for first in FIRST_NAMES for last in surnames if f"{first} {last}" not in others]
    if number > len(names):
        raise ConfigError(f"{number} people need names, and {len(names)} names are left: lower retain1 or general")
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
