"""CoT information of finite hypothesis classes, the sample sizes it predicts, and the ones that consistent learners need.

A hypothesis maps an input x to an answer y = h_e2e(x) and a trace z = h_cot(x). Training shows (x, y, z); the test counts errors of y alone.

    R_e2e(h)   = P_x[h_e2e(x) != h*_e2e(x)]
    I(h*, h)   = -log P_x[h and h* agree on (y, z)]                        relative CoT information
    I(eps; H)  = min { I(h*, h) : R_e2e(h) > eps }                         CoT information, +inf if no h is that wrong

Everything is enumerated: H and the input set X are finite, D is uniform on X, so risks are counts over |X|. A class is stored as two tables over (h, x).
End-to-end supervision is the same class with nothing of the trace revealed: then I(h*, h) = -log(1 - R_e2e(h)), and CoT-Cons becomes E2E-Cons.

I(eps) is a step function with jumps at the errors that occur in H. It is given at these levels: ``levels`` lists the nonzero errors eps+, and a curve holds
at index i the value for every eps in [previous level, levels[i]). In place of I(eps) the curves hold exp(-I(eps)), the chance that the hardest hypothesis of
an error above eps survives one example: it is finite where I is not. Natural logarithms throughout.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

# ---- hypothesis classes ----


class HypothesisClass(NamedTuple):
    """All hypotheses on all inputs."""

    answers: Int[np.ndarray, "H X"]
    """y."""
    traces: Int[np.ndarray, "H X"]
    """z, its symbols packed into one integer, the first symbol in the highest bits."""
    steps: int = 1
    """Symbols of a trace."""
    bits: int = 1
    """Bits of a symbol."""


def reveal(H: HypothesisClass, shown: Iterable[int]) -> HypothesisClass:
    """The same class with a trace of which only the symbols at the steps ``shown`` (from 0) are seen; none of them: end-to-end supervision."""
    symbol = (1 << H.bits) - 1
    mask = sum(symbol << H.bits * (H.steps - 1 - step) for step in set(shown))
    return H._replace(traces=H.traces & H.traces.dtype.type(mask))


def linear_class(d: int, T: int, strict: bool = False, signs: bool = False) -> HypothesisClass:
    """Class A, autoregressive linear thresholds: all w in {-1, 0, 1}^d on all inputs of d bits, in the order of ``itertools.product``.

    The next bit is 1[<w, last d bits> >= 0], w_1 weighing the oldest of them; z is T such bits, y the last one. What is not settled by our sources: ``strict``
    asks for > 0, and ``signs`` lets the bits enter the product as -1 and 1 in place of 0 and 1.
    """
    weights = np.array(list(itertools.product((-1, 0, 1), repeat=d)), dtype=np.int8)  # (3^d, d)
    windows = np.array(list(itertools.product((0, 1), repeat=d)), dtype=np.int8)  # (2^d, d); row i spells i in binary
    scores = weights @ (2 * windows - 1 if signs else windows).T
    next_bit = (scores > 0 if strict else scores >= 0).astype(np.int32)  # (H, window)
    window = np.broadcast_to(np.arange(2**d), next_bit.shape)
    traces = np.zeros(next_bit.shape, dtype=np.int32)
    for _ in range(T):
        bit = np.take_along_axis(next_bit, window, axis=1)
        window = (window << 1) & (2**d - 1) | bit
        traces = traces << 1 | bit
    return HypothesisClass(answers=(traces & 1).astype(np.uint8), traces=traces, steps=T)


def automaton_class(states: int, length: int, accept_sets: Sequence[Sequence[int]]) -> HypothesisClass:
    """Class B, regular languages over {0, 1}: every transition table T[s][a] with each of the ``accept_sets``, start state 0, on all strings of one length.

    z is the states after each letter, y whether the last of them accepts. Hypothesis (table i, accept set j) has the index i len(accept_sets) + j, see
    ``automaton_index``; strings are in the order of ``itertools.product``. Strings share their prefixes, so states are computed once for each prefix.
    """
    tables = np.indices((states,) * (2 * states), dtype=np.uint8).reshape(2 * states, -1).T.reshape(-1, states, 2)  # (tables, s, a)
    bits = max(1, (states - 1).bit_length())
    state = np.zeros((len(tables), 1), dtype=np.uint8)  # (tables, prefixes)
    traces = np.zeros((len(tables), 1), dtype=np.int32)
    for _ in range(length):
        after = [np.take_along_axis(tables[:, :, letter], state, axis=1) for letter in (0, 1)]
        state = np.stack(after, axis=2).reshape(len(tables), -1)
        traces = np.repeat(traces << bits, 2, axis=1) | state
    accepts = np.array([[s in accepted for s in range(states)] for accepted in accept_sets], dtype=np.uint8)  # (sets, states)
    answers = accepts[:, state].swapaxes(0, 1).reshape(-1, state.shape[1])
    return HypothesisClass(answers, np.repeat(traces, len(accept_sets), axis=0), steps=length, bits=bits)


def automaton_index(table: Sequence[Sequence[int]], accepted: int = 0, accept_sets: int = 1) -> int:
    """Where a transition table with the accept set number ``accepted`` of ``accept_sets`` stands in ``automaton_class``."""
    index = 0
    for successor in itertools.chain.from_iterable(table):
        index = index * len(table) + successor
    return index * accept_sets + accepted


def product_class(answers: Int[np.ndarray, "A X"], traces: Int[np.ndarray, "C X"]) -> HypothesisClass:
    """F_e2e x F_cot: every answer function with every trace function, so that a trace says nothing about the answers. Index: answer a, trace c -> a C + c."""
    return HypothesisClass(np.repeat(answers, len(traces), axis=0), np.tile(traces, (len(answers), 1)))


# ---- CoT information ----


def answer_differs(H: HypothesisClass, y: Int[np.ndarray, " X"]) -> Bool[np.ndarray, "H X"]:
    """Where each hypothesis gives another answer than y."""
    return H.answers != y


def example_differs(H: HypothesisClass, y: Int[np.ndarray, " X"], z: Int[np.ndarray, " X"]) -> Bool[np.ndarray, "H X"]:
    """Where the example (x, y, z) contradicts each hypothesis, by its answer or by its trace."""
    differs = H.traces != z
    differs |= H.answers != y
    return differs


class Relation(NamedTuple):
    """Every hypothesis against a target h* of the class."""

    risk: Float[np.ndarray, " H"]
    """R_e2e(h)."""
    survival: Float[np.ndarray, " H"]
    """exp(-I(h*, h)): the chance that one example does not contradict h."""
    differs: Bool[np.ndarray, "H X"]
    """Where (y, z) of h and h* differ."""


def relate(H: HypothesisClass, target: int) -> Relation:
    """Risks and relative CoT information with respect to hypothesis number ``target``."""
    y, z = H.answers[target], H.traces[target]
    differs = example_differs(H, y, z)
    inputs = len(y)
    wrong, seen = np.count_nonzero(answer_differs(H, y), axis=1), np.count_nonzero(differs, axis=1)
    return Relation(wrong / inputs, (inputs - seen) / inputs, differs)


def levels(risk: Float[np.ndarray, " H"]) -> Float[np.ndarray, " L"]:
    """The nonzero errors that occur, ascending: eps+ for eps = 0, then for eps = the first of them, and so on."""
    return np.unique(risk[risk > 0])


def worst_above(risk: Float[np.ndarray, " H"], value: Float[np.ndarray, " H"]) -> Float[np.ndarray, " L"]:
    """max { value(h) : R_e2e(h) >= level } for each of the ``levels``, which is the maximum over R_e2e(h) > eps for any eps just below the level."""
    bad = risk > 0
    steps, at = np.unique(risk[bad], return_inverse=True)
    worst = np.full(len(steps), -np.inf)
    np.maximum.at(worst, at, value[bad])
    return np.maximum.accumulate(worst[::-1])[::-1]


def above(curve: Float[np.ndarray, " L"], steps: Float[np.ndarray, " L"], eps: float, empty: float) -> float:
    """A curve at any eps >= 0, the inequality R_e2e(h) > eps being strict; ``empty`` where no hypothesis is that wrong."""
    index = int(np.searchsorted(steps, eps, side="right"))
    return float(curve[index]) if index < len(steps) else empty


def information(survival):
    """I = -log of a chance of survival; +inf at 0."""
    with np.errstate(divide="ignore"):
        return -np.log(survival)


def cot_information(relation: Relation, eps: float) -> float:
    """I(eps; H) = min { I(h*, h) : R_e2e(h) > eps }: the smallest information belongs to the largest survival."""
    survival = worst_above(relation.risk, relation.survival)
    return float(information(above(survival, levels(relation.risk), eps, empty=0.0)))


def hardest_at_zero(relation: Relation) -> tuple[float, float]:
    """The limit eps -> 0: eps+, the smallest nonzero error of the class, and exp(-I(0)), the best chance of survival of any hypothesis with an error."""
    bad = relation.risk > 0
    return float(relation.risk[bad].min()), float(relation.survival[bad].max())


def relative_value(survival, eps_plus):
    """I(0) / eps+ from exp(-I(0)) and eps+: end-to-end examples that one CoT example is worth as eps -> 0."""
    return information(survival) / eps_plus


def agnostic_information(risk: Float[np.ndarray, " H"], cot_risk: Float[np.ndarray, " H"], eps: float) -> float:
    """I_ag(eps) = inf { R_cot(h) - min R_cot : R_e2e(h) - min R_e2e >= eps } (Result 3); +inf if the set is empty."""
    return float(np.min(cot_risk[risk - risk.min() >= eps] - cot_risk.min(), initial=np.inf))


# ---- sample sizes: bounds ----


def enough_examples(hypotheses: int, delta: float, rate):
    """(log |H| + log 1/delta) / rate. Result 1 at rate I(eps), where all errors > eps are gone with probability 1 - delta; rate eps: the classical bound."""
    return (math.log(hypotheses) + math.log(1 / delta)) / rate


def too_few_examples(delta: float, rate):
    """log(1/delta) / I(eps). With fewer examples an error > eps survives with probability at least delta (Result 4)."""
    return math.log(1 / delta) / rate


# ---- sample sizes: what consistent learners need ----


def first_visits(rng: np.random.Generator, inputs: int) -> Int[np.ndarray, " X"]:
    """Draw x_1, x_2, ... uniformly until every input has come: the number i >= 1 of the first example with each input. Repetitions teach nothing."""
    stream = rng.integers(inputs, size=4 * inputs)
    while len(np.unique(stream)) < inputs:
        stream = np.concatenate([stream, rng.integers(inputs, size=4 * inputs)])
    return np.unique(stream, return_index=True)[1] + 1


def elimination_times(differs: Bool[np.ndarray, "H X"], visits: Int[np.ndarray, " X"]) -> Float[np.ndarray, " H"]:
    """The number of examples after which each hypothesis has been contradicted; +inf for those that agree with h* everywhere."""
    times = np.full(len(differs), np.inf)
    alive = np.arange(len(differs))
    for x in np.argsort(visits):
        contradicted = differs[alive, x]
        times[alive[contradicted]] = visits[x]
        alive = alive[~contradicted]
        if not len(alive):
            break
    return times


def examples_needed(risk: Float[np.ndarray, " H"], times: Float[np.ndarray, " H"]) -> Float[np.ndarray, " L"]:
    """m_emp, the first m at which every consistent hypothesis has error <= eps, as a curve over the ``levels``; its first entry is m_emp(0)."""
    return worst_above(risk, times)


def consistent_error(risk: Float[np.ndarray, " H"], times: Float[np.ndarray, " H"], m: int) -> float:
    """The expected error of a hypothesis drawn uniformly from those that m examples have not contradicted."""
    return float(risk[times > m].mean())


def empirical_risk_minimisers(differs: Bool[np.ndarray, "H X"], sample: Int[np.ndarray, " m"]) -> Bool[np.ndarray, " H"]:
    """The hypotheses that the fewest examples of the sample contradict."""
    mistakes = np.count_nonzero(differs[:, sample], axis=1)
    return mistakes == mistakes.min()
