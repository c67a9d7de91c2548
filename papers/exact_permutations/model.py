"""Infinite width: what an ensemble of two-layer ReLU networks, trained on the k basis vectors alone, answers on every other binary input.

A permutation matrix P of size k is learned from the pairs (e_i, P e_i). An input with n ones is scaled to unit length, x = ones / sqrt(n), and its target
is the unscaled P (ones). Gradient descent on a very wide network leaves each output coordinate a Gaussian process, independent of the other coordinates:

    t(x)       = Theta(X, X)^-1 Theta(X, x)
    mean f_j(x) = (P t(x))_j
    cov f_j(x), f_j(x') = K(x, x') + t(x)^T K(X, X) t(x') - t(x)^T K(X, x') - K(x, X) t(x')

with K the kernel of the network at initialisation (NNGP) and Theta its tangent kernel, which depends on how the network is parametrised:

    "ntk"       f = W2 relu(W1 x / sqrt k) / sqrt m, all weights N(0, 1): both layers move, and Theta is the NTK of the paper's theorems;
    "standard"  f = W2 relu(W1 x + b1) + b2, W1 ~ N(0, 1/k), W2 ~ N(0, 1/m): the official code. The last layer's share of Theta is m / k times larger than
                the rest, so Theta / m tends to K, and the networks follow the last-layer (NNGP) kernel.

Symbols: k length, n ones of an input, m width, N networks in an ensemble, rho cosine of two unit inputs, U distinct test inputs. All of it in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln, log_ndtr, logsumexp

REGIMES = ("ntk", "standard")


# ---- kernels ----


def kappa0(rho):
    """Arc-cosine kernel of degree 0: 2 E[1(u > 0) 1(v > 0)] for standard normal u, v of correlation rho."""
    return (np.pi - np.arccos(rho)) / np.pi


def kappa1(rho):
    """Arc-cosine kernel of degree 1: 2 E[relu(u) relu(v)] for standard normal u, v of correlation rho."""
    return (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho))) / np.pi


def nngp(rho, k: int):
    """K: covariance of an output over initialisations, kappa1 / 2k in both regimes (unit inputs, first-layer pre-activations of variance 1/k)."""
    return kappa1(rho) / (2 * k)


def tangent(rho, k: int, regime: str, m: float = np.inf):
    """Theta of one output. In the standard regime it is Theta / m, which stays finite: the scale of Theta changes the speed of training, not its end.

    Standard regime at width m: last layer m kappa1 / 2k, output bias 1, first layer rho kappa0 / 2, hidden biases kappa0 / 2.
    """
    if regime == "ntk":
        return (kappa1(rho) + rho * kappa0(rho)) / (2 * k)
    return nngp(rho, k) + (1 + (1 + rho) * kappa0(rho) / 2) / m


def top_curvature(k: int, regime: str, m: float) -> float:
    """Largest eigenvalue of Theta(X, X) on the k basis vectors: gradient descent on half the squared error is stable below a step of 2 over it."""
    diagonal, off = tangent(1.0, k, regime, m), tangent(0.0, k, regime, m)
    return (diagonal + (k - 1) * off) * (1 if regime == "ntk" else m)


# ---- the law of one output ----


class Law(NamedTuple):
    """Gaussian law of the outputs of one network on an input with n ones."""

    one: float
    """mu1, mean where the target is 1."""
    zero: float
    """mu0, mean where the target is 0."""
    var: float
    """Variance, the same everywhere."""


def output_law(k: int, n, regime: str, m: float = np.inf) -> Law:
    """Closed form of the law; ``n`` may be an array. Theta(X, X) = (d - c) I + c 11^T is inverted by Sherman-Morrison.

    t has the value mu1 where the input is 1 and mu0 elsewhere, and P only moves its entries.
    """
    n = np.asarray(n, dtype=float)
    rho = 1 / np.sqrt(n)
    d, c, a = (tangent(cosine, k, regime, m) for cosine in (1.0, 0.0, rho))
    s = n * a + (k - n) * c
    q = c * s / (d - c + c * k)
    one, zero = (a - q) / (d - c), (c - q) / (d - c)

    d, c, a = (nngp(cosine, k) for cosine in (1.0, 0.0, rho))
    squares, total = n * one**2 + (k - n) * zero**2, n * one + (k - n) * zero
    t_K_t = (d - c) * squares + c * total**2
    t_K_x = n * one * a + (k - n) * zero * c
    var = d + t_K_t - 2 * t_K_x
    return Law(one, zero, np.maximum(var, 0.0))  # exactly 0 on a training point, n = 1, but for rounding


def posterior(x: Float[np.ndarray, "U k"], regime: str) -> tuple[Float[np.ndarray, "U k"], Float[np.ndarray, "U U"]]:
    """t(x) of every test input, and the covariance of an output coordinate across them: the law above, jointly and by plain linear algebra."""
    k = x.shape[1]
    train_test, test_test = np.clip(x, 0.0, 1.0), np.clip(x @ x.T, 0.0, 1.0)  # cosines; the training inputs are the basis
    train_train = np.eye(k)
    t = np.linalg.solve(tangent(train_train, k, regime), tangent(train_test, k, regime).T).T
    cross = t @ nngp(train_test, k).T
    cov = nngp(test_test, k) + t @ nngp(train_train, k) @ t.T - cross - cross.T
    return t, cov


# ---- how many networks ----


def prob_exact(N, k: int, n: int, regime: str):
    """Probability that the thresholded mean of N networks is right on all k coordinates: Phi(mu1 sqrt N / sd)^n Phi(-mu0 sqrt N / sd)^(k - n)."""
    law = output_law(k, n, regime)
    root = np.sqrt(N / law.var)
    return np.exp(n * log_ndtr(law.one * root) + (k - n) * log_ndtr(-law.zero * root))


def log_union_bound(N: int, k: int, regime: str) -> float:
    """Log of the union bound on an error anywhere: sum over n of C(k, n) [n Phi(-mu1 sqrt N / sd) + (k - n) Phi(mu0 sqrt N / sd)].

    The k training points, n = 1, are never wrong.
    """
    n = np.arange(2, k + 1)
    law = output_law(k, n, regime)
    root = np.sqrt(N / law.var)
    log_inputs = gammaln(k + 1) - gammaln(n + 1) - gammaln(k - n + 1)
    wrong_one = np.log(n) + log_ndtr(-law.one * root)
    wrong_zero = np.log(k - n[:-1]) + log_ndtr(law.zero * root)[:-1]  # an input of k ones has no target zero
    return float(logsumexp(np.concatenate([log_inputs + wrong_one, log_inputs[:-1] + wrong_zero])))


def smallest(enough: Callable[[int], bool]) -> int:
    """Smallest N >= 1 with ``enough(N)``, for a condition that stays true once it is: doubling, then bisection."""
    high = 1
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def networks_for_one_input(k: int, accuracy: float, regime: str, n: int = 2) -> int:
    """N needed for one input with n ones to be answered exactly with probability ``accuracy``."""
    return smallest(lambda N: bool(prob_exact(N, k, n, regime) >= accuracy))


def networks_for_all_inputs(k: int, delta: float, regime: str) -> int:
    """N for which the union bound over all 2^k - 1 inputs is at most ``delta``."""
    return smallest(lambda N: log_union_bound(N, k, regime) <= np.log(delta))


# ---- test inputs, ensembles drawn from the law, first passage ----


def draw_test_inputs(k: int, n: int, count: int, rng: np.random.Generator) -> tuple[Float[np.ndarray, "U k"], Float[np.ndarray, " U"]]:
    """``count`` random inputs with n ones, drawn with replacement as in the official code: the distinct ones, of unit length, and how often each came."""
    ones = np.argsort(rng.random((count, k)), axis=1)[:, :n]
    hot = np.zeros((count, k))
    np.put_along_axis(hot, ones, 1.0, axis=1)
    distinct, times = np.unique(hot, axis=0, return_counts=True)
    return distinct / np.sqrt(n), times.astype(float)


def draw_permutation(k: int, rng: np.random.Generator) -> Float[np.ndarray, "k k"]:
    """A random permutation matrix P."""
    return np.eye(k)[rng.permutation(k)]


def sampled_accuracy(
    P: Float[np.ndarray, "k k"],
    x: Float[np.ndarray, "U k"],
    times: Float[np.ndarray, " U"],
    sizes: Int[np.ndarray, " S"],
    regime: str,
    rng: np.random.Generator,
) -> Float[np.ndarray, " S"]:
    """Accuracy of one growing ensemble at each of its increasing ``sizes``, its networks drawn jointly over the test inputs from the Gaussian law.

    The sum of the networks that join between two sizes is itself Gaussian, so it is drawn at once; ``sizes = 1, 2, 3, ...`` draws every network.
    """
    t, cov = posterior(x, regime)
    mean, target = t @ P.T, x @ P.T > 0  # (U, k)
    spectrum, basis = np.linalg.eigh(cov)
    factor = (basis * np.sqrt(np.maximum(spectrum, 0.0))).T  # (U, U), factor^T factor = cov
    joining = np.diff(sizes, prepend=0)[:, None]  # (S, 1)
    exact = np.ones((len(sizes), len(x)), dtype=bool)
    for j in range(P.shape[0]):  # coordinates are independent
        sums = np.cumsum(joining * mean[:, j] + np.sqrt(joining) * (rng.standard_normal(exact.shape) @ factor), axis=0)
        exact &= (sums > 0) == target[:, j]
    return exact @ times / times.sum()


def first_passage(accuracy: Float[np.ndarray, " S"], sizes: Int[np.ndarray, " S"], goal: float) -> int:
    """The first size whose accuracy reaches ``goal``, which is where the official code stops adding networks; the largest size when none does."""
    reached = accuracy >= goal
    return int(sizes[np.argmax(reached)] if reached.any() else sizes[-1])
