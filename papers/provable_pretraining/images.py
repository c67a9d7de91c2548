"""Real digits: phase 1 is probabilistic PCA, or a mixture on its latents, on images without labels; phase 2 logistic regression, or a vote, on a few labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import eigh
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from shared.data import digits, mnist
from shared.seeds import integer32, numpy_rng

CLASSES = 10
CS = np.logspace(-2, 2, 5)
"""Inverse strengths of the penalty among which cross-validation chooses, for every input."""


class Pictures(NamedTuple):
    """Pixels in [0, 1]. The images without labels, those that may get one, and those of the test are all different."""

    unlabelled: Float[np.ndarray, "m pixels"]
    X: Float[np.ndarray, "labels pixels"]
    y: Int[np.ndarray, " labels"]
    X_test: Float[np.ndarray, "test pixels"]
    y_test: Int[np.ndarray, " test"]


def load(name: str, seed: int, m: int, labels: int) -> Pictures:
    """The first k of the labelled images hold k / 10 of every class, for each multiple k of 10. ``m`` or as many as there are without labels."""
    images = digits.load(seed=seed) if name == "digits" else mnist.load()
    x, x_test = (part.reshape(len(part), -1) / images.x_train.max() for part in (images.x_train, images.x_test))
    order = numpy_rng(seed, "order of the images").permutation(len(x))
    of_class = [order[images.y_train[order] == k][: labels // CLASSES] for k in range(CLASSES)]
    few = np.stack(of_class, axis=1).ravel()  # one of every class in turn
    unlabelled = order[~np.isin(order, few)][:m]
    return Pictures(x[unlabelled], x[few], images.y_train[few], x_test, images.y_test)


class FactorAnalyser(NamedTuple):
    """Probabilistic PCA, x = W z + mean + noise of variance v: the factor model with the size of its noise unknown."""

    mean: Float[np.ndarray, " d"]
    W: Float[np.ndarray, "d r"]
    v: float

    def latent(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n r"]:
        """E[z | x] = (W^T W + v I)^{-1} W^T (x - mean)."""
        return np.linalg.solve(self.W.T @ self.W + self.v * np.eye(self.W.shape[1]), self.W.T @ (X - self.mean).T).T


def fit_factors(X: Float[np.ndarray, "m d"], r: int) -> FactorAnalyser:
    """Maximum likelihood (Tipping and Bishop, 1999): v is the mean of the eigenvalues left out, W = U_r diag(sqrt(eigenvalues - v))."""
    mean = X.mean(axis=0)
    covariance, d = (X - mean).T @ (X - mean) / len(X), X.shape[1]
    eigenvalues, U = eigh(covariance, subset_by_index=[d - r, d - 1])
    v = (np.trace(covariance) - eigenvalues.sum()) / (d - r)
    return FactorAnalyser(mean, U * np.sqrt(eigenvalues - v), float(v))


def in_span(X: Float[np.ndarray, "n d"], *others: Float[np.ndarray, "points d"]) -> list[Float[np.ndarray, "points k"]]:
    """Inputs in coordinates of the span of the n labelled ones, which is all that a penalised linear model sees: the same fit, sooner where d > n."""
    centre, basis = X.mean(axis=0), np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2].T
    return [(part - centre) @ basis for part in (X, *others)]


def logistic_accuracy(X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], X_test: Float[np.ndarray, "test d"], y_test: Int[np.ndarray, " test"]) -> float:
    """Multinomial logistic regression, its penalty chosen by cross-validation among the labelled points."""
    X, X_test = in_span(X, X_test)
    folds = StratifiedKFold(min(3, len(y) // CLASSES))
    return float(GridSearchCV(LogisticRegression(max_iter=500), {"C": CS}, cv=folds).fit(X, y).score(X_test, y_test))


def vote_accuracy(P: Float[np.ndarray, "n K"], y: Int[np.ndarray, " n"], P_test: Float[np.ndarray, "test K"], y_test: Int[np.ndarray, " test"]) -> float:
    """Each component takes the class of the most posterior weight, an image the class of the most posterior weight of its components."""
    psi = (P.T @ np.eye(CLASSES)[y]).argmax(axis=1)
    return float(((P_test @ np.eye(CLASSES)[psi]).argmax(axis=1) == y_test).mean())


def accuracies(name: str, seed: int, m: int, labels: tuple[int, ...], r: int, K: int) -> dict[str, np.ndarray]:
    """Test accuracy for each number of labels: logistic regression on pixels, on latents and on what the latents say of the pixels (W z, whose directions keep
    their sizes, which a penalised head does not ignore), and the vote within K components of a mixture of latents."""
    data = load(name, seed, m, max(labels))
    factors = fit_factors(data.unlabelled, r)
    unlabelled, Z, Z_test = (factors.latent(X) for X in (data.unlabelled, data.X, data.X_test))
    mixture = GaussianMixture(K, covariance_type="spherical", random_state=integer32(seed, "mixture")).fit(unlabelled)
    P, P_test = mixture.predict_proba(Z), mixture.predict_proba(Z_test)
    scales = np.linalg.norm(factors.W, axis=0)  # the columns of W are orthogonal
    inputs = {"pixels": (data.X, data.X_test), "factors": (Z, Z_test), "scaled": (Z * scales, Z_test * scales)}
    curves = {name: [logistic_accuracy(X[:n], data.y[:n], X_test, data.y_test) for n in labels] for name, (X, X_test) in inputs.items()}
    curves["mixture"] = [vote_accuracy(P[:n], data.y[:n], P_test, data.y_test) for n in labels]
    return {f"accuracy_{name}": np.array(curve) for name, curve in curves.items()}
