"""Made-up companies: where each has its seat and what it makes. Facts beside those of the `bios` people.

This module draws the facts, writes text about them, and asks about each with four choices. The corpus decides which
models are trained on them. No name, place or product is shared with a person of the corpus.
"""

import random

NAMES = """Acorvia Belthorn Cryonex Dunvale Estrella Farrowtek Glimmora Hexabay Ironelle Joltrix Kelvatra Lorimond
Maskelyn Norvanta Opalune Pentrake Quorvale Rivendale Solvantis Trellium Ulverton Vantrix Wickmere Xylorix Yelvaro
Zandoria Aldermoss Brindlex Corvanta Dellamere Echoval Frostwyn Granthor Hollowex Inverra Jasperon Kilnwood Lunarch
Merrivane Nettlebay""".split()
SEATS = """Aarhus Bilbao Cardiff Dresden Esbjerg Fukuoka Genoa Hobart Innsbruck Jakarta Kampala Leipzig Malmo Nantes
Osaka Perth Quebec Rouen Salzburg Toledo Uppsala Vilnius Windhoek Xalapa York Zwolle Ankara Basel Calgary Dundee
Evora Faro Graz Havana Ipswich Joensuu Kigali Lugano Minsk Nairobi""".split()
PRODUCTS = """anchors bicycles candles drills elevators fans gloves hammers inks jackets kettles lamps mirrors needles
ovens pianos quilts ropes saddles tents umbrellas violas wagons xylophones yachts zippers axles buttons clocks dyes
engines forks gears helmets icepicks jars knives locks magnets nails""".split()
# attribute -> possible answers, a sentence, a question
FACTS = {
    "seat": (SEATS, "The company {name} has its seat in {answer}.", "Where does the company {name} have its seat?"),
    "product": (PRODUCTS, "The company {name} makes {answer}.", "What does the company {name} make?"),
}
CHOICES = 4
LEAST = 2 * CHOICES  # facts from which every question has four choices of its kind
MOST = len(NAMES) * len(FACTS)


def companies(number: int, rng: random.Random) -> tuple[list[str], list[dict]]:
    """Training texts and questions about `number` facts (0, or LEAST to MOST); no two facts of a kind share an answer.

    texts: every fact as a sentence; those of two companies in three as a question with its answer too, so that some
    facts are more certain than others. questions: {"question", "choices", "answer", "group"}, the choices being the
    true answer and three of other companies, in random order; group, the company.
    """
    names = rng.sample(NAMES, -(-number // len(FACTS)))
    answers = {kind: rng.sample(pool, len(names)) for kind, (pool, _, _) in FACTS.items()}
    facts = [(place, kind) for place in range(len(names)) for kind in FACTS][:number]
    asked = {kind: [answers[kind][place] for place, its in facts if its == kind] for kind in FACTS}
    texts, questions = [], []
    for place, kind in facts:
        _, sentence, question = FACTS[kind]
        name, answer = names[place], answers[kind][place]
        question = question.format(name=name)
        texts.append(sentence.format(name=name, answer=answer))
        if place % 3:
            texts.append(f"Question: {question}\nAnswer: {answer}")
        choices = [answer, *rng.sample([other for other in asked[kind] if other != answer], CHOICES - 1)]
        rng.shuffle(choices)
        questions.append({"question": question, "choices": choices, "answer": choices.index(answer), "group": name})
    return texts, questions
