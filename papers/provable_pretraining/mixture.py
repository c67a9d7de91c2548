"""Gaussian mixtures: phase 1 (spherical EM without labels), phase 2 (a vote within each component), and the exact cost of the labels.

z uniform on K components, x | z ~ N(u_z, I_d), y = psi(z) in {0, 1}, flipped with probability q. Only the centres u are unknown.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import logsumexp, softmax
from scipy.stats import binom
from sklearn.base import ClassifierMixin
from sklearn.cluster import kmeans_plusplus
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

TIE = 0.01
"""Votes closer than this, in labels, count as a tie: posteriors of well separated components are 0 or 1 but for such an amount."""


class MixtureProblem(NamedTuple):
    u: Float[np.ndarray, "K d"]
    psi: Bool[np.ndarray, " K"]
    q: float

    def sample(self, rng: np.random.Generator, n: int) -> tuple[Float[np.ndarray, "n d"], Bool[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Inputs, noisy labels, components."""
        z = rng.integers(len(self.u), size=n)
        x = self.u[z] + rng.standard_normal((n, self.u.shape[1]))
        return x, self.psi[z] ^ (rng.random(n) < self.q), z


def draw_mixture(rng: np.random.Generator, d: int, K: int, norm: float, q: float) -> MixtureProblem:
    """Centres in random directions at a distance ``norm`` from the origin; half of the components have label 1."""
    u = rng.standard_normal((K, d))
    return MixtureProblem(norm * u / np.linalg.norm(u, axis=1, keepdims=True), rng.permutation(np.arange(K) % 2 == 0), q)


# ---- phase 1 ----


def scores(X: Float[np.ndarray, "m d"], u: Float[np.ndarray, "K d"]) -> Float[np.ndarray, "m K"]:
    """log p(x | k), but for a term that all components share: x . u_k - |u_k|^2 / 2."""
    return X @ u.T - (u**2).sum(axis=1) / 2


def posterior(X: Float[np.ndarray, "m d"], u: Float[np.ndarray, "K d"]) -> Float[np.ndarray, "m K"]:
    return softmax(scores(X, u), axis=1)


def log_likelihood(X: Float[np.ndarray, "m d"], u: Float[np.ndarray, "K d"]) -> float:
    """Mean of log (1/K) sum_k N(x; u_k, I)."""
    shared = -(X**2).sum(axis=1) / 2 - X.shape[1] / 2 * np.log(2 * np.pi) - np.log(len(u))
    return float((logsumexp(scores(X, u), axis=1) + shared).mean())


def em_step(X: Float[np.ndarray, "m d"], u: Float[np.ndarray, "K d"]) -> Float[np.ndarray, "K d"]:
    """Each centre moves to the mean of the points, weighted by the posterior of its component."""
    P = posterior(X, u)
    return P.T @ X / np.maximum(P.sum(axis=0), 1e-12)[:, None]


def em(X: Float[np.ndarray, "m d"], u: Float[np.ndarray, "K d"], iterations: int, tolerance: float = 1e-6) -> Float[np.ndarray, "K d"]:
    """EM until no coordinate of a centre moves by more than ``tolerance``, or for so many iterations."""
    for _ in range(iterations):
        before, u = u, em_step(X, u)
        if np.abs(u - before).max() < tolerance:
            break
    return u


def fit_mixture(X: Float[np.ndarray, "m d"], rng: np.random.Generator, K: int, restarts: int = 8, iterations: int = 60) -> Float[np.ndarray, "K d"]:
    """The fit of the greatest likelihood among those that start at k-means++ centres."""
    starts = [kmeans_plusplus(X, K, random_state=int(rng.integers(2**31)))[0] for _ in range(restarts)]
    return max((em(X, start, iterations) for start in starts), key=lambda u: log_likelihood(X, u))


# ---- phase 2 ----


def vote(rng: np.random.Generator, P: Float[np.ndarray, "n K"], y: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " K"]:
    """ERM over the 2^K labelings: each component takes the label that has more posterior weight; a coin decides a tie, and where there is no label at all."""
    votes = P.T @ (2.0 * y - 1)
    return np.where(np.abs(votes) < TIE, rng.random(len(votes)) < 0.5, votes > 0)


def predict(P: Float[np.ndarray, "n K"], psi: Bool[np.ndarray, "K ..."]) -> Bool[np.ndarray, "n ..."]:
    """The label of the greater posterior weight, for one labeling of the components or for several, side by side."""
    return P @ (2.0 * psi - 1) > 0


# ---- learning from labels alone ----

RIVALS = {
    "ridge": (RidgeClassifier(), {"alpha": np.logspace(-1, 4, 6)}),
    "logistic": (LogisticRegression(max_iter=500), {"C": np.logspace(-4, 1, 6)}),
    "neighbours": (KNeighborsClassifier(), {"n_neighbors": [1, 3, 5, 9]}),
    "mlp": (MLPClassifier((100,), solver="lbfgs", max_iter=500, random_state=0), {"alpha": np.logspace(-2, 2, 5)}),
}
"""Supervised classifiers, and the values of their knob among which 5-fold cross-validation chooses."""


def fit_rival(name: str, X: Float[np.ndarray, "n d"], y: Bool[np.ndarray, " n"]) -> ClassifierMixin:
    """One of the rivals, tuned on the labelled points themselves. Folds are fewer where a label is rarer; with one label alone it is always answered."""
    rarest = min(y.sum(), len(y) - y.sum())
    if rarest < 2:
        return DummyClassifier().fit(X, y)
    return GridSearchCV(*RIVALS[name], cv=StratifiedKFold(min(5, rarest))).fit(X, y)


# ---- exact errors ----


def vote_error(n: int, K: int, q: float) -> float:
    """Expected error of the vote when components are known and far apart, exactly.

    A component gets N ~ Bin(n, 1/K) labels, F ~ Bin(N, q) of them flipped; it is wrong if F > N/2, and half the time if F = N/2. Neither d nor m is in it.
    """
    N = np.arange(n + 1)
    wrong = binom.sf(N // 2, N, q) + np.where(N % 2 == 0, binom.pmf(N // 2, N, q) / 2, 0)
    return float(binom.pmf(N, n, 1 / K) @ wrong)


def centre_error(u_hat: Float[np.ndarray, "K d"], u: Float[np.ndarray, "K d"]) -> float:
    """Mean squared distance of a true centre to the nearest estimate. Far apart, the estimate is the mean of about m/K points, so that it is d K / m."""
    return float(((u[:, None] - u_hat[None]) ** 2).sum(axis=2).min(axis=1).mean())
