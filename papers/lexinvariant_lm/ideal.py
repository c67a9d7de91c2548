"""Predictors without a network: the ideal lexinvariant one for a known language (Section 3.2), and adaptive counts that know no language.

The ideal predictor knows the language P but not which symbol is which. A priori every re-lettering sigma is as likely as any other:

    Q(x_1 .. x_T) = 1/V! sum_sigma P(sigma(x_1) .. sigma(x_T))

Its excess loss per symbol, (log P(x) - log Q(x)) / T, is at most log(V!)/T and falls to zero as the text tells the symbols apart.
"""

from __future__ import annotations

import itertools
from math import factorial, log
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp


class Chain(NamedTuple):
    """A Markov chain over V symbols that starts in its stationary distribution."""

    start: Float[np.ndarray, " V"]
    transition: Float[np.ndarray, "V V"]  # [from, to]


def random_chain(rng: np.random.Generator, V: int, concentration: float) -> Chain:
    """Rows of the transition matrix drawn from a symmetric Dirichlet distribution."""
    transition = rng.dirichlet(np.full(V, concentration), size=V)
    return Chain(stationary(transition), transition)


def stationary(transition: Float[np.ndarray, "V V"]) -> Float[np.ndarray, " V"]:
    """The pi with pi A = pi, sum(pi) = 1."""
    V = len(transition)
    equations = np.concatenate([transition.T - np.eye(V), np.ones((1, V))])
    return np.linalg.lstsq(equations, np.append(np.zeros(V), 1), rcond=None)[0]


def sample(rng: np.random.Generator, chain: Chain, n: int, T: int) -> Int[np.ndarray, "n T"]:
    """n independent texts."""
    x = np.empty((n, T), dtype=int)
    x[:, 0] = rng.choice(len(chain.start), size=n, p=chain.start)
    cumulative = chain.transition.cumsum(axis=1)
    for t in range(1, T):
        x[:, t] = (rng.random((n, 1)) > cumulative[x[:, t - 1], :-1]).sum(axis=1)
    return x


def log_likelihood(chain: Chain, x: Int[np.ndarray, "*n T"]) -> Float[np.ndarray, "*n T"]:
    """log P(x_1 .. x_t) for t = 1 .. T."""
    steps = np.log(chain.transition)[x[..., :-1], x[..., 1:]]
    return np.cumsum(np.concatenate([np.log(chain.start)[x[..., :1]], steps], axis=-1), axis=-1)


def ideal_log_likelihood(chain: Chain, x: Int[np.ndarray, "n T"]) -> Float[np.ndarray, "n T"]:
    """log Q(x_1 .. x_t) for t = 1 .. T: the mean of P over all V! re-letterings, by enumeration."""
    V = len(chain.start)
    relettered = np.array(list(itertools.permutations(range(V))))[:, x]  # (V!, n, T)
    return logsumexp(log_likelihood(chain, relettered), axis=0) - log(factorial(V))


def excess_loss(chain: Chain, x: Int[np.ndarray, "n T"]) -> Float[np.ndarray, " T"]:
    """Mean over texts of (log P(x_1 .. x_t) - log Q(x_1 .. x_t)) / t, nats per symbol."""
    excess = log_likelihood(chain, x) - ideal_log_likelihood(chain, x)
    return excess.mean(axis=0) / np.arange(1, x.shape[1] + 1)


def adaptive_losses(windows: Int[np.ndarray, "n T+1"], V: int, order: int) -> Float[np.ndarray, "n T"]:
    """Losses of Krichevsky and Trofimov's estimate (c(v | context) + 1/2) / (c(context) + V/2) of symbols 2 to T + 1.

    Counts are those of the window alone, so this predictor is lexinvariant and knows nothing but what it has read. ``order`` 0 counts symbols, 1 pairs.
    """
    n, length = windows.shape
    rows = np.arange(n)
    counts = np.zeros((n, V if order else 1, V))
    losses = np.empty((n, length - 1))
    if not order:
        counts[rows, 0, windows[:, 0]] = 1
    for t in range(1, length):
        context, symbol = windows[:, t - 1] if order else 0, windows[:, t]
        losses[:, t - 1] = np.log(counts[rows, context].sum(axis=-1) + V / 2) - np.log(counts[rows, context, symbol] + 0.5)
        counts[rows, context, symbol] += 1
    return losses
