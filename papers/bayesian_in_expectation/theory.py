"""What is known without a network: Bayes risk, laws for the martingale gap, the rate of averaging, and v1's length of a chain of thought.

Given n draws, all count vectors (n_1, .., n_V) are equally likely under the Dirichlet(1, .., 1) prior: h heads of n tosses have probability 1 / (n + 1) each.
Means over prefixes are therefore means over count vectors, and within one count vector over orders. All entropies are in nats.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import comb, xlogy
from scipy.stats import binom

# ---- prediction from counts ----


def laplace(counts: Int[np.ndarray, "... V"], alpha: float = 1.0) -> Float[np.ndarray, "... V"]:
    """(n_v + alpha) / (n + alpha V). alpha = 1 is Bayes here, alpha = 1/2 the estimator of Krichevsky and Trofimov (KT)."""
    counts = np.asarray(counts, float)
    return (counts + alpha) / (counts.sum(-1, keepdims=True) + alpha * counts.shape[-1])


def cross_entropy(p: Float[np.ndarray, "... V"], q: Float[np.ndarray, "... V"]) -> np.ndarray:
    """-sum_v p_v log q_v; cross_entropy(p, p) is the entropy."""
    return -xlogy(p, q).sum(-1)


def between_bars(bars: Int[np.ndarray, "C V-1"], n: int) -> Int[np.ndarray, "C V"]:
    """Stars and bars: V - 1 bars on n + V - 1 places, in rising order, cut the n stars into V counts."""
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, n + bars.shape[1])))
    return np.diff(edges, axis=1) - 1


def compositions(n: int, V: int) -> Int[np.ndarray, "C V"]:
    """All count vectors of n draws; for a coin (0, n), (1, n - 1), .."""
    return between_bars(np.array(list(itertools.combinations(range(n + V - 1), V - 1))), n)


def count_risk(n: int, V: int = 2, alpha: float = 1.0) -> float:
    """Expected loss of the count predictor on draw n + 1; alpha = 1 is the Bayes risk, for a coin the mean over h = 0 .. n of H((h + 1) / (n + 2)).

    Every symbol contributes alike, so the distribution of one count is enough: P(n_v = m) = C(n - m + V - 2, V - 2) / C(n + V - 1, V - 1).
    """
    m = np.arange(n + 1)
    probability = comb(n - m + V - 2, V - 2) / comb(n + V - 1, V - 1)
    return float(V * (probability * cross_entropy(((m + 1) / (n + V))[:, None], ((m + alpha) / (n + alpha * V))[:, None])).sum())


def source_entropy(V: int = 2) -> float:
    """E H(theta), theta ~ Dirichlet(1, .., 1): sum_{k=2}^{V} 1/k, that is 1/2 for a coin."""
    return sum(1 / k for k in range(2, V + 1))


# ---- prefixes and their orders ----


def prefixes(rng: np.random.Generator, n: int, V: int, number: int) -> Int[np.ndarray, "P n"]:
    """Prefixes of n draws as the prior gives them, in random order: every count vector equally often, ``number`` or more in all; or ``number`` at random."""
    if math.comb(n + V - 1, V - 1) <= number:
        counts = compositions(n, V)
        counts = np.tile(counts, (math.ceil(number / len(counts)), 1))
    else:
        bars = np.sort(rng.random((number, n + V - 1)).argsort(axis=1)[:, : V - 1], axis=1)
        counts = between_bars(bars, n)
    return rng.permuted(np.stack([np.repeat(np.arange(V), c) for c in counts]), axis=1)


def reordered(rng: np.random.Generator, ids: Int[np.ndarray, "P n"], orders: int) -> Int[np.ndarray, "P orders n"]:
    """Random orders of x_1 .. x_{n-1} for each prefix; x_n, behind which the network is read, stays ("within-prefix")."""
    many = np.repeat(ids[:, None], orders, axis=1)
    many[..., :-1] = rng.permuted(many[..., :-1], axis=-1)
    return many


# ---- measures of prefixes ----


def order_variance(q: Float[np.ndarray, "P orders"]) -> Float[np.ndarray, " P"]:
    """s_n^2, the unbiased variance of q_pi over orders."""
    return q.var(axis=-1, ddof=1)


def martingale_gap(q: Float[np.ndarray, "P V"], q_next: Float[np.ndarray, "P V V"]) -> Float[np.ndarray, " P"]:
    """Delta_n = |q - sum_v q_v q^(v)| of the last symbol's probability; ``q_next[:, v]`` is the prediction after v has been appended."""
    return np.abs(q - np.einsum("pv,pvw->pw", q, q_next))[:, -1]


def realization_gap(q: Float[np.ndarray, "P orders"]) -> Float[np.ndarray, " P"]:
    """E_pi |q_pi - E_pi q_pi|: how far a single order is from the mean of all."""
    return np.abs(q - q.mean(axis=-1, keepdims=True)).mean(axis=-1)


def jensen_gap(p: Float[np.ndarray, "P V"], q: Float[np.ndarray, "P orders V"]) -> Float[np.ndarray, " P"]:
    """E_y [E_pi(-log P_pi(y)) - (-log E_pi P_pi(y))] >= 0, y ~ p: what averaging the orders saves."""
    return cross_entropy(p[:, None], q).mean(axis=1) - cross_entropy(p, q.mean(axis=1))


def averaging_deviation(q: Float[np.ndarray, "P orders"], k: int) -> float:
    """Root mean square over prefixes of the standard deviation of means of k orders; the groups of k share no order."""
    groups = q.shape[1] // k
    means = q[:, : groups * k].reshape(len(q), groups, k).mean(axis=-1)
    return float(np.sqrt(means.var(axis=-1, ddof=1).mean()))


def explained_by_counts(value: Float[np.ndarray, "P orders"], counts: Int[np.ndarray, "P V"]) -> float:
    """Share of the variance of ``value`` that lies between count vectors: 1 for a function of the sufficient statistic."""
    _, group = np.unique(counts, axis=0, return_inverse=True)
    size, total = (np.bincount(group, weights) for weights in (np.full(len(value), value.shape[1]), value.sum(axis=1)))
    within = np.square(value - (total / size)[group][:, None]).mean()
    return float(1 - within / value.var())


def fixed_source_risk(q: Float[np.ndarray, "P orders 2"], heads: Int[np.ndarray, " P"], n: int, p: float) -> float:
    """Expected loss after n tosses of a coin whose probability of heads is ``p``, from prefixes with every number of heads equally often."""
    weight = binom.pmf(heads, n, p)
    return float((weight[:, None] * cross_entropy(np.array([1 - p, p]), q)).sum() / (weight.sum() * q.shape[1]))


# ---- laws of decay ----

LAWS: dict[str, Callable] = {
    "log n / n": lambda n: np.log(n) / n,
    "1 / n": lambda n: 1 / n,
    "n^-1/2": lambda n: n**-0.5,
    "constant": lambda n: np.ones_like(n),
}


@dataclass(frozen=True)
class LawFit:
    r_squared: float
    """1 - RSS / (sum of squares about the mean), also without an intercept; below 0 when the mean alone fits better."""
    aic: float
    """N log(RSS / N) + 2 parameters."""
    scale: float


def fit_law(n, gap, law: str, intercept: bool = False) -> LawFit:
    """Least squares of ``gap`` on c law(n), or on c law(n) + b."""
    n, gap = np.asarray(n, float), np.asarray(gap, float)
    design = np.stack([LAWS[law](n), *([np.ones_like(n)] if intercept else [])], axis=1)
    c = np.linalg.lstsq(design, gap, rcond=None)[0]
    rss = float(np.square(gap - design @ c).sum())
    return LawFit(1 - rss / float(np.square(gap - gap.mean()).sum()), len(n) * math.log(rss / len(n)) + 2 * design.shape[1], float(c[0]))


# ---- chain of thought ----


def best_cot_length(n: float, alpha: float, H_cot: float, B0: float, B_opt: float, eps: float) -> float:
    """k* = sqrt(alpha n / (H_CoT (B_0 - B_opt))) log_2(1 / eps), v1's best number of reasoning tokens. Theory only: nothing here measures it."""
    return math.sqrt(alpha * n / (H_cot * (B0 - B_opt))) * math.log2(1 / eps)
