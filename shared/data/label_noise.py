"""Wrong labels on purpose: symmetric and asymmetric label noise, drawn with a NumPy generator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

# The confusable pairs of CIFAR-10 (Patrini et al. 2017): truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog.
CIFAR10_CONFUSIONS = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}


def symmetric(labels: Int64[np.ndarray, " n"], rate: float, classes: int, rng: np.random.Generator) -> Int64[np.ndarray, " n"]:
    """Give a random share ``rate`` of the examples (rounded) a label drawn uniformly from all ``classes``, the true one included.

    So a share of rate * (1 - 1 / classes) is wrong on average: 0.36 at rate 0.4 with ten classes.
    """
    _check(rate)
    noisy = labels.copy()
    chosen = rng.permutation(len(labels))[: round(rate * len(labels))]
    noisy[chosen] = rng.integers(0, classes, len(chosen))
    return noisy


def asymmetric(labels: Int64[np.ndarray, " n"], rate: float, confusions: Mapping[int, int], rng: np.random.Generator) -> Int64[np.ndarray, " n"]:
    """Give a random share ``rate`` (rounded) of every class in ``confusions`` the label of the class it is taken for, all classes at the same time."""
    _check(rate)
    noisy = labels.copy()
    for true, taken_for in confusions.items():
        members = rng.permutation(np.flatnonzero(labels == true))
        noisy[members[: round(rate * len(members))]] = taken_for
    return noisy


def _check(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"a noise rate lies in 0..1, got {rate}")
