"""How many facts a decoder knows: among all tails of a relation, is the right one the likeliest continuation?

    questions = ask(facts, tokenizer, n=500, template=0, rng=rng)
    scores = ...                              # sum of log-probabilities of each continuation (jax_scoring or torch_scoring .score_continuations)
    share_right(questions, scores), share_right(questions, questions.frequency)

A head often has several true tails for one relation; as is usual for knowledge graphs, the other true ones are left out of the competition (filtered).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from shared.lms.facts import Fact, prompt
from shared.lms.padding import pad
from shared.lms.tokenization import Tokenizer


@dataclass(frozen=True)
class Questions:
    """One row for each fact asked for and each tail that competes, the right one among them; rows of a fact are consecutive."""

    ids: Int[np.ndarray, "rows length"]
    mask: Bool[np.ndarray, "rows length"]
    prompt_lengths: Int[np.ndarray, " rows"]
    fact: Int[np.ndarray, " rows"]
    """Number of the fact that the row belongs to, 0 .. n - 1."""
    right: Bool[np.ndarray, " rows"]
    frequency: Float[np.ndarray, " rows"]
    """How often the row's tail is a tail of the relation: the score of a model that knows relations and no heads."""


def ask(facts: list[Fact], tokenizer: Tokenizer, n: int, template: int, rng: np.random.Generator) -> Questions:
    """Questions about ``n`` facts drawn without replacement. The continuation is the tail and a full stop."""
    tails, answers = defaultdict(Counter), defaultdict(set)
    for fact in facts:
        tails[fact.graph, fact.relation][fact.tail] += 1
        answers[fact.graph, fact.relation, fact.head].add(fact.tail)
    rows, lengths, owner, right, frequency = [], [], [], [], []
    for number, i in enumerate(rng.choice(len(facts), min(n, len(facts)), replace=False)):
        fact = facts[i]
        start = tokenizer.encode(prompt(fact, template))
        others = answers[fact.graph, fact.relation, fact.head] - {fact.tail}
        for tail, count in tails[fact.graph, fact.relation].items():
            if tail not in others:
                rows.append(start + tokenizer.encode(f"{tail} ."))
                lengths.append(len(start))
                owner.append(number)
                right.append(tail == fact.tail)
                frequency.append(count)
    ids, mask = pad(rows, value=tokenizer.pad)
    return Questions(ids, mask, np.array(lengths), np.array(owner), np.array(right), np.array(frequency, float))


def share_right(questions: Questions, scores: Float[np.ndarray, " rows"]) -> float:
    """Share of the facts whose tail scores higher than every other; of ties, the fraction that a draw by lot would give."""
    best = np.full(questions.fact.max() + 1, -np.inf)
    np.maximum.at(best, questions.fact, scores)
    winners = scores == best[questions.fact]
    ties = np.bincount(questions.fact, winners)
    return float(np.mean(np.bincount(questions.fact, winners & questions.right) / ties))
