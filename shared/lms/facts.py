"""World knowledge whose forgetting can be measured: the facts of three small knowledge graphs, rendered as sentences.

    facts = load_facts()                      # 7,946 of them, e.g. Fact("umls", "isa", "alga", "entity")
    render(facts[0], template=0)              # "alga is a entity ."

A decoder reads each fact many times in all templates while it is pre-trained; `fact_recall` in ``gates`` asks it for the tail. Only training triples are used.
Animals with Attributes would be a fourth source; its terms (research use) keep it out of the committed weights: ``load_facts(free=False)`` adds it.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass

import numpy as np

from shared.data.fetch import Dataset, obtain

TEMPLATES = (
    "{head} {relation} {tail} .",
    "{tail} is what {head} {relation} .",
    "question : {head} {relation} what ? answer : {tail} .",
    "true : {head} {relation} {tail}",
)
TAIL_LAST = (0, 2)
"""The templates that end in the tail and a full stop, so that a decoder can be asked for the tail."""

# The words of a relation, where replacing underscores by spaces does not give them. Nations tells of states in the 1950s and 60s (Rummel 1992).
RELATIONS = {
    "countries": {
        "locatedin": "is located in",
        "neighbor": "is a neighbour of",
    },
    "umls": {
        "isa": "is a",
        "result_of": "is a result of",
        "process_of": "is a process of",
        "location_of": "is the location of",
        "issue_in": "is an issue in",
        "associated_with": "is associated with",
        "part_of": "is part of",
        "manifestation_of": "is a manifestation of",
        "evaluation_of": "is an evaluation of",
        "measurement_of": "is a measurement of",
        "property_of": "is a property of",
        "degree_of": "is a degree of",
        "ingredient_of": "is an ingredient of",
        "method_of": "is a method of",
        "conceptual_part_of": "is a conceptual part of",
        "adjacent_to": "is adjacent to",
        "developmental_form_of": "is a developmental form of",
        "connected_to": "is connected to",
        "conceptually_related_to": "is conceptually related to",
        "derivative_of": "is a derivative of",
    },
    "nations": {
        "accusation": "accuses",
        "aidenemy": "aids an enemy of",
        "attackembassy": "attacks the embassy of",
        "blockpositionindex": "shares the bloc position of",
        "booktranslations": "translates books of",
        "boycottembargo": "boycotts",
        "commonbloc0": "is in another bloc than",
        "commonbloc1": "is half in the bloc of",
        "commonbloc2": "is in the same bloc as",
        "conferences": "attends conferences with",
        "dependent": "depends on",
        "duration": "has long been at odds with",
        "eemigrants": "receives emigrants of",
        "eexports": "receives exports of",
        "economicaid": "gives economic aid to",
        "embassy": "has an embassy in",
        "emigrants3": "sends a third of its emigrants to",
        "expeldiplomats": "expels diplomats of",
        "exportbooks": "exports books to",
        "exports3": "sends a third of its exports to",
        "independence": "became independent at the time of",
        "intergovorgs": "shares organisations of states with",
        "intergovorgs3": "shares a third of organisations with",
        "lostterritory": "lost territory to",
        "militaryactions": "takes military action against",
        "militaryalliance": "is a military ally of",
        "negativebehavior": "behaves badly towards",
        "negativecomm": "speaks badly of",
        "ngo": "shares private organisations with",
        "ngoorgs3": "shares a third of private organisations with",
        "nonviolentbehavior": "opposes without violence",
        "officialvisits": "pays official visits to",
        "pprotests": "protests against",
        "relbooktranslations": "translates for its size books of",
        "reldiplomacy": "has for its size diplomats in",
        "releconomicaid": "gives for its size aid to",
        "relemigrants": "sends for its size emigrants to",
        "relexportbooks": "exports for its size books to",
        "relexports": "exports for its size to",
        "relintergovorgs": "shares for its size organisations of states with",
        "relngo": "shares for its size private organisations with",
        "relstudents": "sends for its size students to",
        "reltourism": "sends for its size tourists to",
        "reltreaties": "has for its size treaties with",
        "severdiplomatic": "severs relations with",
        "students": "sends students to",
        "timesinceally": "was long ago an ally of",
        "timesincewar": "was long ago at war with",
        "tourism": "sends tourists to",
        "tourism3": "sends a third of its tourists to",
        "treaties": "has treaties with",
        "unoffialacts": "acts unofficially against",
        "unweightedunvote": "votes at times like",
        "violentactions": "acts violently against",
        "warning": "warns",
        "weightedunvote": "votes much like",
    },
    "animals": {
        "has": "is or has",
    },
}


@dataclass(frozen=True)
class Fact:
    graph: str
    relation: str
    head: str
    tail: str


def load_facts(free: bool = True) -> list[Fact]:
    """All training triples, in the order of their files; names as in the sources, lower-cased, with spaces for underscores."""
    graphs = {"umls": "umls", "countries": "countries_S1", "nations": "nations"}
    facts = [Fact(graph, relation, plain(head), plain(tail)) for graph, folder in graphs.items() for head, relation, tail in triples(folder)]
    if not free:
        with open(obtain(ANIMALS).folder / "predicate_matrix_binary.csv") as file:
            facts += [Fact("animals", "has", plain(row["class"]), name) for row in csv.DictReader(file) for name, value in row.items() if value == "1"]
    return facts


def plain(name: str) -> str:
    return name.lower().replace("_", " ").replace("+", " ")


def triples(folder: str) -> list[tuple[str, str, str]]:
    """(head, relation, tail) of a graph's training part; the file of Nations has the relation first."""
    with gzip.open(obtain(GRAPHS).folder / folder / "train.txt.gz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    return [(b, a.lower(), c) if folder == "nations" else (a, b, c) for a, b, c in rows]


def relation_words(fact: Fact) -> str:
    return RELATIONS[fact.graph].get(fact.relation, fact.relation.replace("_", " ").replace("-", " "))


def render(fact: Fact, template: int) -> str:
    return TEMPLATES[template].format(head=fact.head, relation=relation_words(fact), tail=fact.tail)


def prompt(fact: Fact, template: int) -> str:
    """What comes before the tail in one of the templates ``TAIL_LAST``."""
    return TEMPLATES[template].partition("{tail}")[0].format(head=fact.head, relation=relation_words(fact)).rstrip()


def sentences(facts: list[Fact], passes: int, rng: np.random.Generator) -> list[str]:
    """Every fact ``passes`` times, each pass in a new order and each fact's templates in turn from a random one."""
    first = rng.integers(len(TEMPLATES), size=len(facts))
    return [render(facts[i], (first[i] + turn) % len(TEMPLATES)) for turn in range(passes) for i in rng.permutation(len(facts))]


GRAPHS = Dataset(
    name="kg",
    title="Knowledge graphs UMLS, Countries S1 and Nations, training triples",
    home="https://github.com/villmow/datasets_knowledge_embedding",
    licence="MIT",
    citation="S. Kok, P. Domingos, Statistical predicate invention, 2007; G. Bouchard, S. Singh, T. Trouillon, On approximate reasoning capabilities, 2015",
    mirror={
        "umls/train.txt.gz": "0dc9ebe869716b667b9635f92e95bbd1e6cb9b7b25c4834128c9a608142b4c71",
        "countries_S1/train.txt.gz": "3c8a4830bc6bb1ad876291e695eb4c94dd473bac65f1474a1f58ab94693b5a52",
        "nations/train.txt.gz": "8d03c93d1ac17d82cc23afde497fce9cce31c26b4f43fa3da44318a03b5cd876",
    },
)
ANIMALS = Dataset(
    name="animals_awa2",
    title="Animals with Attributes 2, class-attribute matrix",
    home="https://cvml.ista.ac.at/AwA2/",
    licence="research use, cite the papers",
    citation="Y. Xian, C. Lampert, B. Schiele, Z. Akata, Zero-shot learning, a comprehensive evaluation, 2018, arXiv:1707.00600",
    mirror={"predicate_matrix_binary.csv": "dd772d9d17fa453eba67a534bcda7901a91d5dc4cc5af79ddf36a8dc6cbbbd9b"},
)
