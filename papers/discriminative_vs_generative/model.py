"""Naive Bayes against logistic regression: the two linear classifiers, the Gaussian mixture they are compared on, and how "samples needed" is measured.

Symbols of the paper: n features, K classes, m training samples in total (not per class), mu_k class means, v shared variances, pi_k class priors.
Official code: ML-GSAI/Revisiting-Dis-vs-Gen-Classifiers (MIT), commit 86a0bcc; generator, classifiers and grids follow it where the text is silent.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler

# --- Naive Bayes, the generative twin -----------------------------------------------------------------------------------------------------------------


class ClassStatistics(NamedTuple):
    """What naive Bayes keeps of a data set; the statistics of two batches merge into those of their union."""

    counts: Int[np.ndarray, " K"]
    """m_k, samples of class k."""
    means: Float[np.ndarray, "K n"]
    """mu_k."""
    deviations: Float[np.ndarray, "K n"]
    """Sums of squared deviations from mu_k, so that Var_k = deviations_k / m_k (maximum likelihood)."""


def class_statistics(X: Float[np.ndarray, "m n"], y: Int[np.ndarray, " m"], K: int) -> ClassStatistics:
    """The statistics of one batch. A class without a sample has count, mean and deviations 0."""
    X = X.astype(np.float64)
    member = np.eye(K)[y]  # (m, K), one-hot
    counts = member.sum(axis=0)
    means = member.T @ X / np.maximum(counts, 1)[:, None]
    deviations = member.T @ (X - means[y]) ** 2
    return ClassStatistics(counts, means, deviations)


def merge(a: ClassStatistics, b: ClassStatistics) -> ClassStatistics:
    """The statistics of the union of two disjoint batches.

    The deviations gain m_a m_b / (m_a + m_b) (mu_a - mu_b)^2, the spread between the two means.
    """
    counts = a.counts + b.counts
    share_of_b = (b.counts / np.maximum(counts, 1))[:, None]
    means = a.means + share_of_b * (b.means - a.means)
    deviations = a.deviations + b.deviations + a.counts[:, None] * share_of_b * (b.means - a.means) ** 2
    return ClassStatistics(counts, means, deviations)


class LinearRule(NamedTuple):
    """argmax_k  w_k . x + b_k."""

    weights: Float[np.ndarray, "K n"]
    bias: Float[np.ndarray, " K"]

    def scores(self, X: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "m K"]:
        return X @ self.weights.T + self.bias

    def predict(self, X: Float[np.ndarray, "m n"]) -> Int[np.ndarray, " m"]:
        return self.scores(X).argmax(axis=1)


def gaussian_rule(pi: Float[np.ndarray, " K"], mu: Float[np.ndarray, "K n"], v: Float[np.ndarray, " n"]) -> LinearRule:
    """argmax_k  log pi_k - 1/2 sum_j (x_j - mu_kj)^2 / v_j, the Bayes rule of Gaussian classes with one shared diagonal covariance.

    The term in x_j^2 is the same for all classes, so the rule is linear: w_k = mu_k / v and b_k = log pi_k - 1/2 sum_j mu_kj^2 / v_j.
    """
    return LinearRule(weights=mu / v, bias=np.log(pi) - 0.5 * (mu**2 / v).sum(axis=1))


def naive_bayes(X: Float[np.ndarray, "m n"], y: Int[np.ndarray, " m"], K: int, epsilon: float = 1e-9, batch: int = 4096) -> LinearRule:
    """The Gaussian rule with plug-in estimates: pi_k = m_k / m, class means, and the shared v_j = sum_k pi_k Var_k(x_j) + epsilon.

    With one sample per class every Var_k is 0 and epsilon alone decides; the paper keeps m >= 2K.
    """
    batches = (slice(start, start + batch) for start in range(0, len(y), batch))
    counts, mu, deviations = functools.reduce(merge, (class_statistics(X[b], y[b], K) for b in batches))
    return gaussian_rule(counts / len(y), mu, deviations.sum(axis=0) / len(y) + epsilon)


# --- Logistic regression, the discriminative twin -----------------------------------------------------------------------------------------------------

TOLERANCE = 1e-7
"""Of the solver. With scikit-learn's default of 1e-4 (the official code's too) it stops short of the minimum where features are many and labels few."""


def logistic_regression(X: Float[np.ndarray, "m n"], y: Int[np.ndarray, " m"], C: float = 1.0) -> LogisticRegression:
    """Minimise C sum_i -log p(y_i | x_i) + ||w||^2 / 2 over weights w and a free intercept; softmax over K classes (K = 2: one sigmoid)."""
    return LogisticRegression(C=C, solver="lbfgs", tol=TOLERANCE, max_iter=5000).fit(X, y)


def logistic_path(X: Float[np.ndarray, "m n"], y: Int[np.ndarray, " m"], Cs: Sequence[float]) -> Iterator[LogisticRegression]:
    """``logistic_regression`` at every C of the rising ``Cs``, each solved from the solution before it, to the solver's default tolerance:

    the same minima (the objective is convex), sooner. On the features, with their many labels, the tighter tolerance changed no verdict and cost as much again.
    """
    model = LogisticRegression(solver="lbfgs", max_iter=1000, warm_start=True)
    for C in Cs:
        yield model.set_params(C=C).fit(X, y)


def error_rate(classifier: LinearRule | LogisticRegression, X: Float[np.ndarray, "m n"], y: Int[np.ndarray, " m"]) -> float:
    """Share of wrong predictions (the official code divides by a literal 10000 instead of the number of test points)."""
    return float(np.mean(classifier.predict(X) != y))


# --- The Gaussian mixture of the simulation -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GaussianMixture:
    """K Gaussian classes in R^n whose means lie on one line and whose covariance is diagonal ("easy" mode of the official generator)."""

    n: int
    K: int

    @property
    def centres(self) -> Float[np.ndarray, " K"]:
        """c_k, the mean of class k being c_k (1, ..., 1): -1, 1, 2, 4, 8, ..."""
        return np.array([-1.0] + [2.0 ** (k - 1) for k in range(1, self.K)])

    @property
    def variances(self) -> Float[np.ndarray, " n"]:
        """n for the first floor(n / 2) coordinates, 1 for the others."""
        return np.where(np.arange(self.n) < self.n // 2, float(self.n), 1.0)

    def sample(self, rng: np.random.Generator, size: int) -> tuple[Float[np.ndarray, "size n"], Int[np.ndarray, " size"]]:
        """floor(size / K) points of each class, in single precision and mapped by ``normalise``, as the official data set class hands them out."""
        y = np.repeat(np.arange(self.K), size // self.K)
        X = rng.standard_normal((len(y), self.n), dtype=np.float32) * np.sqrt(self.variances, dtype=np.float32) + self.centres[y, None].astype(np.float32)
        return self.normalise(X), y

    def normalise(self, X: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "m n"]:
        """For K > 2 the inputs are mapped to (x - 2^(K-3)) / 2^(K-3). Naive Bayes does not notice; the L2 penalty of logistic regression does."""
        if self.K == 2:
            return X
        scale = X.dtype.type(2.0 ** (self.K - 3))
        return (X - scale) / scale

    @property
    def bayes_error(self) -> float:
        """The error of the best rule, exactly.

        With equal priors the best rule is the nearest mean along the line, where one unit of centre is D = sqrt(sum_j 1 / v_j) standard deviations.
        Two neighbours at a gap g lose Phi(-g D / 2) to each other; the average over classes counts every gap twice.
        (The official scripts hard-code 0 from n = 40 on, and at small n values of an older covariance.)
        """
        D = math.sqrt((1 / self.variances).sum())
        return float(2 / self.K * norm.cdf(-np.diff(self.centres) * D / 2).sum())


# --- Samples needed -----------------------------------------------------------------------------------------------------------------------------------


def draw_subset(rng: np.random.Generator, y: Int[np.ndarray, " pool"], m: int, K: int) -> Int[np.ndarray, " m"]:
    """Indices of m points of the pool, drawn without replacement and anew until every one of the K classes is present."""
    while True:
        chosen = rng.choice(len(y), m, replace=False)
        if len(np.unique(y[chosen])) == K:
            return chosen


def sample_complexity(error: Callable[[int], float], n: int, K: int, threshold: float, m_max: int, ladder: float = 1.0) -> int:
    """m*, the first m of 2K, 2K + ceil(ln n), 2K + 2 ceil(ln n), ... whose error is below the threshold.

    ``ladder`` = 1 visits every m, as the paper does. A larger factor first climbs the same grid in geometric steps until an error is below the threshold,
    then visits every m between that rung and the one before it. ``error`` must answer the same m in the same way each time.
    """
    step = math.ceil(math.log(n))
    last_failure, j = -1, 0  # positions on the grid m = 2K + j step
    while error(m := 2 * K + j * step) >= threshold:
        last_failure, j = j, max(j + 1, math.ceil((ladder * m - 2 * K) / step))
        if 2 * K + j * step > m_max:
            raise ValueError(f"no m up to {m_max} brings the error below {threshold:.4f} (n = {n}, K = {K})")
    grid = (2 * K + i * step for i in range(last_failure + 1, j + 1))
    return next(m for m in grid if error(m) < threshold)


# --- Frozen features ----------------------------------------------------------------------------------------------------------------------------------


class Labelled(NamedTuple):
    """A set of feature vectors with their classes 0..K-1."""

    X: Float[np.ndarray, "size n"]
    y: Int[np.ndarray, " size"]


def scaled(subset: Labelled, *others: Labelled) -> list[Labelled]:
    """Every set mapped by the affine map that sends each feature of ``subset``, and of nothing else, onto [0, 1]."""
    scaler = MinMaxScaler().fit(subset.X)
    return [Labelled(scaler.transform(part.X), part.y) for part in (subset, *others)]


class Errors(NamedTuple):
    """Test errors at one m, means over the subsets drawn."""

    nb: float
    lr: float
    """Logistic regression at the C that the validation set prefers."""
    lr_by_C: Float[np.ndarray, " C"]
    """Logistic regression at every C tried."""
    C: float
    """The C chosen."""


def compare_at(rng: np.random.Generator, m: int, repeats: int, pool: Labelled, validation: Labelled, test: Labelled, Cs: Sequence[float]) -> Errors:
    """Both classifiers on the same ``repeats`` subsets of m points of the pool.

    Naive Bayes has nothing to tune. Logistic regression is fitted with every C of ``Cs`` and gets, at each m, the one with the least validation error,
    the first of them at a tie. (The paper fixes one C per backbone for all m.)
    """
    K = pool.y.max() + 1
    nb, lr_validation, lr_test = np.empty(repeats), np.empty((repeats, len(Cs))), np.empty((repeats, len(Cs)))
    for r in range(repeats):
        chosen = draw_subset(rng, pool.y, m, K)
        subset, valid, held_out = scaled(Labelled(pool.X[chosen], pool.y[chosen]), validation, test)
        nb[r] = error_rate(naive_bayes(*subset, K), *held_out)
        for i, classifier in enumerate(logistic_path(*subset, Cs)):
            lr_validation[r, i], lr_test[r, i] = error_rate(classifier, *valid), error_rate(classifier, *held_out)
    best = int(lr_validation.mean(axis=0).argmin())
    lr_by_C = lr_test.mean(axis=0)
    return Errors(nb.mean(), lr_by_C[best], lr_by_C, Cs[best])


def error_curves(
    rng: np.random.Generator, sizes: Iterable[int], subsets: Callable[[int], int], pool: Labelled, validation: Labelled, test: Labelled, Cs: Sequence[float]
) -> dict[str, np.ndarray]:
    """``compare_at`` for every m of ``sizes``, with ``subsets(m)`` draws each; arrays over m, ``error_lr_by_C`` of shape (m, C)."""
    sizes = list(sizes)
    errors = [compare_at(rng, m, subsets(m), pool, validation, test, Cs) for m in sizes]
    return {
        "m": np.array(sizes),
        "error_nb": np.array([e.nb for e in errors], dtype=np.float32),
        "error_lr": np.array([e.lr for e in errors], dtype=np.float32),
        "error_lr_by_C": np.array([e.lr_by_C for e in errors], dtype=np.float32),
        "C": np.array([e.C for e in errors], dtype=np.float32),
        "Cs": np.array(Cs, dtype=np.float32),
    }


def assumption_statistics(data: Labelled) -> dict[str, np.ndarray]:
    """What the theorems assume to stay away from 0 or from infinity, on features scaled to [0, 1]; L_k(x) = log p(x | k) of the fitted Gaussian model.

    sigma2: v_j.    beta: (1/n) |E_k[L_k1 - L_k2]|.    alpha: (1/n) Var_k[L_k1 - L_k2].    The latter two for k1 < k2 and every k (k1 > k2 repeats them).
    The official scripts divide by the number of classes where the text says n; here it is n.
    """
    (data,) = scaled(data)
    K, n = data.y.max() + 1, data.X.shape[1]
    statistics = class_statistics(*data, K)
    v = statistics.deviations.sum(axis=0) / len(data.y) + 1e-9
    L = gaussian_rule(np.ones(K), statistics.means, v).scores(data.X)  # (size, K), up to a term that all classes share
    differences = np.stack([L[:, k1] - L[:, k2] for k1, k2 in combinations(range(K), 2)], axis=1)  # (size, pairs)
    by_class = [differences[data.y == k] for k in range(K)]
    beta = np.abs([d.mean(axis=0) for d in by_class]) / n  # (K, pairs)
    alpha = np.array([d.var(axis=0) for d in by_class]) / n
    return {"sigma2": v, "beta": beta.ravel(), "alpha": alpha.ravel()}
