"""What the enumeration saves: states once for each prefix of the strings, and only the surviving hypotheses looked at after each new input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from papers.cot_information import model

STATES, LENGTH = 3, 10
TARGET = 4001  # a linear threshold with a hypothesis that errs on one input only


def plain_automata() -> np.ndarray:
    """Every string walked through every table from its first letter on."""
    tables = np.indices((STATES,) * (2 * STATES)).reshape(2 * STATES, -1).T.reshape(-1, STATES, 2)
    strings = np.indices((2,) * LENGTH).reshape(LENGTH, -1)  # (letters, X)
    rows = np.arange(len(tables))[:, None]
    state, traces = np.zeros((len(tables), strings.shape[1]), dtype=int), np.zeros((len(tables), strings.shape[1]), dtype=int)
    for letters in strings:
        state = tables[rows, state, letters]
        traces = traces << 2 | state
    return traces


def plain_examples_needed(relation: model.Relation, stream: np.ndarray) -> int:
    """One example after another against all hypotheses, until the worst of those alive has no error."""
    alive, m = np.ones(len(relation.risk), dtype=bool), 0
    while relation.risk[alive].max() > 0:
        alive &= ~relation.differs[:, stream[m]]
        m += 1
    return m


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain)."""
    H = model.linear_class(8, 16)
    relation = model.relate(model.reveal(H, ()), TARGET)
    bad = relation.risk > 0
    stream = np.random.default_rng(0).integers(256, size=40 * 256)
    visits = np.unique(stream, return_index=True)[1] + 1
    return {
        "all automata of 3 states on 1024 strings": (lambda: model.automaton_class(STATES, LENGTH, ((STATES - 1,),)).traces, plain_automata),
        "examples needed by E2E-Cons, linear thresholds": (
            lambda: model.elimination_times(relation.differs[bad], visits).max(),
            lambda: plain_examples_needed(relation, stream),
        ),
    }
