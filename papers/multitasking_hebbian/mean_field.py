"""The self-consistency equations of N -> infinity, with every expectation an exact finite sum.

A site sees K independent entries v^mu: those of the patterns (-1, 0, +1) or, in a network that learned, the averages of M examples, divided by sqrt(R) so that
J_ij = (1/N) sum_mu v_i^mu v_j^mu in both cases. The network settles where

    n_mu = E[ v^mu tanh(sum_nu v^nu n_nu / T) ],    and its overlaps are    m_mu = E[ xi^mu tanh(sum_nu v^nu n_nu / T) ].

For patterns v = xi and n = m. The unsupervised rule, low load, has the same equations: there n is that of a single example, the same for all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from papers.multitasking_hebbian.model import hierarchical_amplitudes, normaliser

TINY = 1e-12  # fields below it are ties of a sum of rounded terms


class Law(NamedTuple):
    """The joint law of a site's K entries."""

    v: np.ndarray
    """Its states, (S, K)."""
    weight: np.ndarray
    """P(state), (S,)."""
    target: np.ndarray
    """E[xi^mu; state], (S, K)."""


def joint(values: np.ndarray, weight: np.ndarray, target: np.ndarray, K: int) -> Law:
    """K independent entries, each with P(values) = weight and E[xi; values] = target."""
    index = np.stack(np.meshgrid(*[np.arange(len(values))] * K, indexing="ij"), axis=-1).reshape(-1, K)
    others = [np.delete(index, mu, axis=1) for mu in range(K)]
    of_targets = [target[index[:, mu]] * weight[others[mu]].prod(axis=1) for mu in range(K)]
    return Law(values[index], weight[index].prod(axis=1), np.stack(of_targets, axis=1))


def stored(K: int, d: float) -> Law:
    """Entries of the patterns: 3^K states."""
    values = np.array([-1.0, 0.0, 1.0])
    weight = np.array([(1 - d) / 2, d, (1 - d) / 2])
    return joint(values, weight, values * weight, K)


def learned(K: int, d: float, M: int, r: float) -> Law:
    """Entries xi * (2 Bin(M, (1 + r) / 2) - M) / (M sqrt(R)): (M + 2)^K states."""
    right = np.arange(M + 1)
    plus, minus = binom.pmf(right, M, (1 + r) / 2), binom.pmf(right, M, (1 - r) / 2)  # given xi = +1 and given xi = -1
    values = np.r_[0.0, (2 * right - M) / (M * np.sqrt(normaliser(M, r)))]
    weight = np.r_[d, (1 - d) / 2 * (plus + minus)]
    return joint(values, weight, np.r_[0.0, (1 - d) / 2 * (plus - minus)], K)


def response(law: Law, n: np.ndarray, T) -> np.ndarray:
    """<s> = tanh(v . n / T) in every state, the sign at T = 0; n (..., K), T (...) -> (..., S)."""
    h, T = n @ law.v.T, np.asarray(T, float)[..., None]
    return np.where(T > 0, np.tanh(h / np.where(T > 0, T, 1)), np.where(np.abs(h) < TINY, 0, np.sign(h)))


def settle(law: Law, n: np.ndarray, T, tolerance: float = 1e-10, limit: int = 5000) -> np.ndarray:
    """Iterate n = E[v <s>] from n (P, K) at temperatures T (P,) until nothing moves.

    No step raises the free energy, which is a difference of convex functions. Where a solution is marginal the approach is slow, and ends at ``limit``.
    """
    n, T = np.array(n, float), np.broadcast_to(np.asarray(T, float), len(n))
    active = np.arange(len(n))
    for _ in range(limit):
        after = (response(law, n[active], T[active]) * law.weight) @ law.v
        moved = np.abs(after - n[active]).max(axis=1) > tolerance
        n[active] = after
        active = active[moved]
        if not len(active):
            break
    return n


def overlaps(law: Law, n: np.ndarray, T) -> np.ndarray:
    """m_mu = E[xi^mu <s>]; n (..., K)."""
    return response(law, n, T) @ law.target


def free_energy(law: Law, n: np.ndarray, T) -> np.ndarray:
    """f = (1/2) sum_mu n_mu^2 - T E ln 2 cosh(v . n / T), at T = 0 with E|v . n|; n (..., K)."""
    h, T = np.abs(n @ law.v.T), np.asarray(T, float)[..., None]
    log_cosh = h + T * np.log1p(np.exp(-2 * h / np.where(T > 0, T, 1)))  # T ln 2 cosh(h / T)
    return (n**2).sum(axis=-1) / 2 - log_cosh @ law.weight


def starts(K: int, d: float) -> np.ndarray:
    """Where to look for solutions: the hierarchical vector, 1, 2, ... K equal overlaps, and two uneven ones; (K + 3, K)."""
    equal = np.tril(np.ones((K, K))) * (1 - d) / np.sqrt(np.arange(1, K + 1))[:, None]
    uneven = (1 - d) * np.stack([np.linspace(0.6, 0.4, K), np.linspace(1, 0.05, K)])
    return np.concatenate([hierarchical_amplitudes(K, d)[None], equal, uneven])


def stable_state(law: Law, K: int, d: float, T: np.ndarray) -> np.ndarray:
    """The solution of least free energy among those reached from all starts, largest overlap first; T (P,) -> (P, K). For stored patterns."""
    begin = starts(K, d)
    T = np.asarray(T, float)
    ends = settle(law, np.tile(begin, (len(T), 1)), np.repeat(T, len(begin))).reshape(len(T), len(begin), K)
    best = free_energy(law, ends, np.broadcast_to(T[:, None], ends.shape[:2])).argmin(axis=1)
    return -np.sort(-np.abs(ends[np.arange(len(T)), best]), axis=1)
