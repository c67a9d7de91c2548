"""Few-shot episodes as arrays of indices: N classes, K support examples and Q queries of each, many episodes at once.

    found = episodes(labels, 600, ways=5, shots=1, queries=15, rng=numpy_rng(seed, "episodes"))
    x[found.support]                    # (episodes, ways, shots, ...)
    x[found.query]                      # (episodes, ways, queries, ...)

Within an episode a class is known by its place, 0..ways - 1. No example occurs twice in an episode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

CELLS = 5_000_000
"""Random keys held in memory at once."""


@dataclass(frozen=True)
class Episodes:
    support: Int64[np.ndarray, "episodes ways shots"]
    query: Int64[np.ndarray, "episodes ways queries"]
    classes: Shaped[np.ndarray, "episodes ways"]
    """The label of each place."""


def episodes(
    labels: Shaped[np.ndarray, " n"],
    count: int,
    *,
    ways: int,
    shots: int,
    queries: int,
    rng: np.random.Generator,
    within: Shaped[np.ndarray, " n"] | None = None,
) -> Episodes:
    """Draw ``count`` episodes: classes without replacement, then the examples of each without replacement.

    Parameters
    ----------
    labels : class of each example. Classes with fewer than shots + queries examples are never drawn.
    within : a group of each example, the same for all of a class (the alphabet of a character). The classes of an episode then come from one group, which is
        drawn uniformly from those with enough classes.
    """
    if min(count, ways, shots) < 1 or queries < 0:
        raise ValueError(f"episodes need count, ways and shots of 1 or more and queries of 0 or more, got {count}, {ways}, {shots}, {queries}")
    classes, first, place, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    enough = counts >= shots + queries
    drawn = _classes(_allowed(classes, enough, first, place, ways, within), count, ways, rng)
    members = np.argsort(place, kind="stable")  # the examples of a class lie side by side
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    largest = int(counts[enough].max())
    chosen = np.empty((count, ways, shots + queries), np.int64)
    step = max(1, CELLS // (ways * largest))
    for begin in range(0, count, step):
        rows = drawn[begin : begin + step]
        chosen[begin : begin + step] = members[starts[rows][..., None] + _smallest(_keys(counts[rows], largest, rng), shots + queries)]
    return Episodes(chosen[..., :shots], chosen[..., shots:], classes[drawn])


def _allowed(
    classes: np.ndarray, enough: np.ndarray, first: np.ndarray, place: np.ndarray, ways: int, within: np.ndarray | None
) -> Bool[np.ndarray, "groups classes"]:
    """For each group that can fill an episode, the classes that may be drawn; one group of all classes if there are none."""
    if within is None:
        allowed = enough[None]
    else:
        group = within[first]
        if not np.array_equal(within, group[place]):
            raise ValueError("a class lies in two groups")
        allowed = (group == np.unique(group)[:, None]) & enough
    allowed = allowed[allowed.sum(1) >= ways]
    if not len(allowed):
        raise ValueError(f"no {'group' if within is not None else 'data set'} has {ways} classes with enough examples ({len(classes)} classes in all)")
    return allowed


def _classes(allowed: Bool[np.ndarray, "groups classes"], count: int, ways: int, rng: np.random.Generator) -> Int64[np.ndarray, "count ways"]:
    group = rng.integers(len(allowed), size=count)
    keys = rng.random((count, allowed.shape[1]))
    return _smallest(np.where(allowed[group], keys, np.inf), ways)


def _keys(counts: Int64[np.ndarray, "rows ways"], largest: int, rng: np.random.Generator) -> Float[np.ndarray, "rows ways largest"]:
    """A random key for each member of each class, infinity where a class has no such member."""
    keys = rng.random((*counts.shape, largest))
    keys[np.arange(largest) >= counts[..., None]] = np.inf
    return keys


def _smallest(keys: np.ndarray, k: int) -> np.ndarray:
    """Places of the k smallest keys along the last axis, in the order of the keys: a random choice in random order."""
    part = np.argpartition(keys, k - 1, axis=-1)[..., :k]
    return np.take_along_axis(part, np.argsort(np.take_along_axis(keys, part, -1), axis=-1), -1)
