"""The multitasking Hebbian network: diluted patterns, the three rules that make couplings of them, starting spins, energy and loss.

Symbols: xi (K, N) patterns with entries -1, 0, +1; s (N,) spins; d dilution, P(xi = 0); eta (M, K, N) noisy examples of quality r; m (K,) overlaps.
Every rule gives J = scale * A^T A with the diagonal removed, for few integer rows A: the couplings themselves are never formed. The full text of the paper
was not at hand; what follows is the model's definition and what it implies.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import erf


class Network(NamedTuple):
    """J_ij = scale * sum_f A_fi A_fj for i != j, and J_ii = 0."""

    A: np.ndarray
    """(F, N), whole numbers kept as float32, so that A s is exact in any order of summation (up to 2^24)."""
    scale: float


def draw_patterns(rng: np.random.Generator, K: int, N: int, d: float) -> np.ndarray:
    """xi (K, N): 0 with probability d, else a fair sign. Equal generators give nested blanks: raising d only blanks more entries."""
    kept = rng.random((K, N), dtype=np.float32) >= d
    return np.where(kept, random_spins(rng, (K, N)), np.float32(0))


def draw_examples(rng: np.random.Generator, xi: np.ndarray, M: int, r: float) -> np.ndarray:
    """eta (M, K, N) = xi chi with P(chi = +-1) = (1 +- r) / 2: an entry is flipped now and then, a blank stays blank. A larger M only adds examples."""
    right = rng.random((M, *xi.shape), dtype=np.float32) < (1 + r) / 2
    return np.where(right, xi, -xi)


def normaliser(M: int, r: float) -> float:
    """R = r^2 + (1 - r^2) / M, the mean square of the average of M examples where the pattern is not blank."""
    return r**2 + (1 - r**2) / M


def storing(xi: np.ndarray) -> Network:
    """J_ij = (1/N) sum_mu xi_i^mu xi_j^mu: Hebb's rule on the patterns themselves."""
    return Network(xi, 1 / xi.shape[1])


def supervised(eta: np.ndarray, r: float) -> Network:
    """J_ij = (1 / N R) sum_mu (mean_a eta_i)(mean_a eta_j): a teacher tells which examples belong together. A holds the sums over a."""
    M, _, N = eta.shape
    return Network(eta.sum(axis=0), 1 / (N * M**2 * normaliser(M, r)))


def unsupervised(eta: np.ndarray, r: float) -> Network:
    """J_ij = (1 / N M R) sum_mu sum_a eta_i eta_j: every example counts as a pattern of its own."""
    M, K, N = eta.shape
    return Network(eta.reshape(M * K, N), 1 / (N * M * normaliser(M, r)))


def random_spins(rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    return (2 * rng.integers(2, size=shape, dtype=np.int8) - 1).astype(np.float32)


def hierarchical_spins(rng: np.random.Generator, xi: np.ndarray) -> np.ndarray:
    """s_i copies xi_i^1 where that is not blank, else xi_i^2, and so on; a site where every pattern is blank gets a random sign."""
    s = random_spins(rng, xi.shape[1])
    for pattern in xi[::-1]:
        s = np.where(pattern == 0, s, pattern)
    return s


def overlaps(xi, s):
    """m_mu = (1/N) sum_i xi_i^mu s_i; (K,)."""
    return xi @ s / len(s)


def energy_per_spin(m):
    """H / N = -(1/2) sum_mu m_mu^2 of the storing model, its constant diagonal left in; m is (..., K)."""
    return -(m**2).sum(axis=-1) / 2


def losses(m, support):
    """L_mu^+ and L_mu^- = (1/2 N_mu) sum over the support of (xi_i^mu -+ s_i)^2 = 1 -+ m_mu N / N_mu; ``support`` is N_mu / N, (K,)."""
    return 1 - m / support, 1 + m / support


# ---- what the model implies at T = 0 ----


def hierarchical_amplitudes(K: int, d: float) -> np.ndarray:
    """m_mu = (1 - d) d^(mu - 1)."""
    return (1 - d) * d ** np.arange(K)


def critical_dilution(K: int) -> float:
    """The hierarchical state is stable while m_1 > m_2 + ... + m_K, i.e. d + d^2 + ... + d^(K-1) < 1 (K >= 3; at K = 2 that is always so)."""
    return brentq(lambda d: (d ** np.arange(1, K)).sum() - 1, 0, 1)


def lone_overlap(d: float, rho):
    """One pattern, T = 0, many examples: m = (1 - d) erf(1 / sqrt(2 rho)), where rho = (1 - r^2) / (M r^2) is the entropy of the data set."""
    return (1 - d) * erf(1 / np.sqrt(2 * np.asarray(rho, float)))


def entropy(M, r: float):
    """rho = (1 - r^2) / (M r^2)."""
    return (1 - r**2) / (np.asarray(M) * r**2)


LEARNED = float(erf(1 / np.sqrt(2)))
"""A pattern counts as learned when m_1 / (1 - d) reaches this, one standard deviation of signal over noise; for K = 1 that is rho = 1."""
