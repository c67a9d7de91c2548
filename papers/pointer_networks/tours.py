"""Travelling-salesman tours: the exact optimum by dynamic programming, and two heuristics like the paper's A1 and A2/A3.

A tour is a row of city numbers 1..n that begins with city 1 and, of its two directions, goes the one that is counter-clockwise (as a shortest tour never
crosses itself, it has one).
"""

from __future__ import annotations

import functools
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np

from papers.pointer_networks.geometry import area


def distances(points: np.ndarray) -> np.ndarray:
    """(..., n, 2) -> (..., n, n), Euclidean."""
    return np.linalg.norm(points[..., :, None, :] - points[..., None, :, :], axis=-1)


def tour_length(points: np.ndarray, tours: np.ndarray) -> np.ndarray:
    """Length of the closed tours (instances, n) over points (instances, n, 2)."""
    cities = np.take_along_axis(points, tours[..., None] - 1, axis=1)
    return np.linalg.norm(cities - np.roll(cities, -1, axis=1), axis=-1).sum(-1)


def counter_clockwise(points: np.ndarray, tours: np.ndarray) -> np.ndarray:
    """The same tours from city 1, run so that the area that they enclose is positive."""
    cities = np.take_along_axis(points, tours[..., None] - 1, axis=1)
    backwards = np.concatenate([tours[:, :1], tours[:, :0:-1]], axis=1)
    return np.where(area(cities)[:, None] > 0, tours, backwards)


@functools.partial(jax.jit, static_argnums=1)
def _held_karp(d: jax.Array, chunk: int) -> jax.Array:
    """Optimal tours for distance matrices (instances, n, n), ``chunk`` instances at a time.

    D[S, j] is the shortest way from city 1 through all of S to j in S. Sets S are bit masks over the cities 2..n, filled in order of their size:
    D[S, j] = min_{i in S - j} D[S - j, i] + d(i, j).
    """
    m = d.shape[-1] - 1
    everywhere = 2**m - 1

    def solve(d):
        to_first, d = d[1:, 0], d[1:, 1:]
        D = jnp.full((2**m, m), jnp.inf, d.dtype).at[2 ** np.arange(m), np.arange(m)].set(to_first)
        for size in range(2, m + 1):
            S = np.array([sum(1 << j for j in members) for members in combinations(range(m), size)])  # (sets,)
            without_j = S[:, None] & ~(1 << np.arange(m))  # (sets, m)
            best = (D[without_j] + d.T).min(-1)  # d is symmetric: [set, j, i]
            D = D.at[S].set(jnp.where(S[:, None] >> np.arange(m) & 1, best, jnp.inf))

        def back(carry, _):
            S, cost_to_next = carry
            j = jnp.argmin(D[S] + cost_to_next)
            return (S & ~(1 << j), d[j]), j + 2

        _, tour = jax.lax.scan(back, (everywhere, to_first), length=m)
        return jnp.concatenate([jnp.ones(1, int), tour])

    return jax.lax.map(solve, d, batch_size=chunk)


def held_karp(points: np.ndarray, chunk: int = 64) -> np.ndarray:
    """Optimal tours (instances, n), counter-clockwise, by O(2^n n^2) dynamic programming in float64; memory 2^n n 8 bytes times ``chunk``."""
    with jax.enable_x64(True):
        tours = np.asarray(_held_karp(jnp.asarray(distances(points.astype(np.float64))), chunk), np.int32)
    return counter_clockwise(points, tours)


def greedy_edge_length(points: np.ndarray) -> np.ndarray:
    """Like the paper's A1: take the shortest edges first, skipping those that make a third edge at a city or close a circle; length per instance."""
    B, n, _ = points.shape
    d, row = distances(points), np.arange(B)
    a, b = np.triu_indices(n, 1)
    order = np.argsort(d[:, a, b], axis=1)
    degree, path = np.zeros((B, n), int), np.tile(np.arange(n), (B, 1))  # path: the label of the chain that a city lies on
    length = np.zeros(B)
    for edge in order.T:
        i, j = a[edge], b[edge]
        take = (degree[row, i] < 2) & (degree[row, j] < 2) & (path[row, i] != path[row, j])
        length += np.where(take, d[row, i, j], 0.0)
        degree[row, i] += take
        degree[row, j] += take
        path = np.where(take[:, None] & (path == path[row, j][:, None]), path[row, i][:, None], path)
    ends = np.argsort(degree, axis=1, kind="stable")[:, :2]  # the two cities that still have one edge
    return length + d[row, ends[:, 0], ends[:, 1]]


def farthest_insertion(points: np.ndarray) -> np.ndarray:
    """Tours (instances, n) grown from city 1: take the city farthest from the tour, put it where it lengthens the tour least."""
    B, n, _ = points.shape
    d, row = distances(points), np.arange(B)
    tours = np.zeros((B, 1), int)  # 0-based inside
    gap = d[:, 0].copy()  # of every city to the tour
    for size in range(1, n):
        k = np.argmax(gap, axis=1)
        after = np.roll(tours, -1, axis=1)
        detour = d[row[:, None], tours, k[:, None]] + d[row[:, None], k[:, None], after] - d[row[:, None], tours, after]
        place = np.argmin(detour, axis=1)[:, None] + 1
        slot = np.arange(size + 1)
        shifted = np.take_along_axis(tours, np.minimum(slot - (slot > place), size - 1), axis=1)
        tours = np.where(slot == place, k[:, None], shifted)
        gap = np.minimum(gap, d[row, k])
    return tours + 1


def two_opt(points: np.ndarray, tours: np.ndarray) -> np.ndarray:
    """Reverse the stretch that shortens each tour most, until none does."""
    B, n = tours.shape
    d, rows, place = distances(points), np.arange(B)[:, None], np.arange(n)
    upper = np.triu(np.ones((n, n), bool), 1)
    tours = tours - 1
    while True:
        after = np.roll(tours, -1, axis=1)
        here = d[rows, tours, after]  # (B, n), the edge that leaves each place
        # Reversing places i+1..j swaps the edges (i, i+1) and (j, j+1) for (i, j) and (i+1, j+1).
        along = d[rows[..., None], tours[:, :, None], tours[:, None, :]] + d[rows[..., None], after[:, :, None], after[:, None, :]]
        change = np.where(upper, along - here[:, :, None] - here[:, None, :], 0.0).reshape(B, -1)
        best = np.argmin(change, axis=1)
        better = change[rows[:, 0], best] < -1e-12
        if not better.any():
            return tours + 1
        i, j = (index[:, None] for index in np.divmod(best, n))
        reverse = better[:, None] & (place > i) & (place <= j)
        tours = np.take_along_axis(tours, np.where(reverse, i + 1 + j - place, place), axis=1)
