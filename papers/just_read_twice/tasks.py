"""Set disjointness: name the one token that two sets have in common.

    [prefix] A [sep] B [answer]   ->   t,   the single token of both A and B

A recurrent model that reads A before B has to store all of A: the order matters as much as the sizes. Read twice, either order will do.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

PREFIX, SEP, ANSWER = 1, 2, 3
"""Special tokens; 0 is the mask token of the official vocabulary and does not occur."""
SPECIALS = 4


def set_disjointness(
    rng: np.random.Generator, examples: int, size_A: int, size_B: int, vocabulary: int, reads: int = 1
) -> tuple[Int[np.ndarray, "examples time"], Int[np.ndarray, " examples"]]:
    """Token sequences and their answers t; with ``reads=2`` the sequence is [prefix] A [sep] B A [sep] B [answer].

    For each example the ordinary tokens are shuffled, A is drawn from their first half and B from the second, so that a token says nothing about the set it
    is in; then a random place of B is overwritten by a random token of A.
    """
    tokens = rng.permuted(np.tile(np.arange(SPECIALS, vocabulary), (examples, 1)), axis=1)
    half = tokens.shape[1] // 2
    if max(size_A, size_B) > half:
        raise ValueError(f"sets of {size_A} and {size_B} do not fit into halves of {half} tokens")
    A, B = tokens[:, :size_A], tokens[:, half : half + size_B].copy()
    row = np.arange(examples)
    t = A[row, rng.integers(size_A, size=examples)]
    B[row, rng.integers(size_B, size=examples)] = t

    def column(token: int) -> np.ndarray:
        return np.full((examples, 1), token)

    question = [A, column(SEP), B]
    return np.concatenate([column(PREFIX), *(question * reads), column(ANSWER)], axis=1), t
