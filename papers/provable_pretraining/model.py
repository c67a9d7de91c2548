"""Factor models: phase 1 (maximum likelihood without labels), phase 2 (least squares on the inferred latents), supervised baselines, and their exact errors.

Symbols of the paper: x in R^d, latent z in R^r, m unlabelled and n labelled points. Ours: s = the size of the columns of B, w* = the best linear predictor.

    x = B z + mu,   z ~ N(0, I_r),   mu ~ N(0, Sigma)      y = beta . z + gamma . x + nu,   nu ~ N(0, sigma^2)

All is Gaussian, so y = w* . x + (an independent residual), and the excess risk of any linear predictor w is (w - w*)^T S (w - w*) with S = B B^T + Sigma.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh

LAMBDAS = np.logspace(-4, 2, 13)
"""Strengths of the ridge penalty among which cross-validation chooses."""


# ---- the problem ----


@dataclass(frozen=True)
class FactorProblem:
    B: Float[np.ndarray, "d r"]
    Sigma: Float[np.ndarray, "d d"]
    """Covariance of mu. The factor model that is fitted believes it to be I."""
    beta: Float[np.ndarray, " r"]
    """What y takes from the latent."""
    gamma: Float[np.ndarray, " d"]
    """What y takes from x directly; 0 in the paper's setting."""
    sigma: float

    @cached_property
    def white(self) -> bool:
        """Whether the factor model's belief about the noise is true."""
        return bool((self.Sigma == np.eye(len(self.Sigma))).all())

    @cached_property
    def S(self) -> Float[np.ndarray, "d d"]:
        """Covariance of x."""
        return self.B @ self.B.T + self.Sigma

    @cached_property
    def c(self) -> Float[np.ndarray, " d"]:
        """Covariance of x and y."""
        return self.B @ self.beta + self.S @ self.gamma

    @cached_property
    def w_star(self) -> Float[np.ndarray, " d"]:
        return np.linalg.solve(self.S, self.c)

    @cached_property
    def residual(self) -> float:
        """Variance of y - w* . x. In the paper's setting sigma^2 + beta^T (I + B^T B)^{-1} beta."""
        y_variance = self.sigma**2 + self.beta @ self.beta + self.gamma @ self.S @ self.gamma + 2 * self.beta @ self.B.T @ self.gamma
        return float(y_variance - self.c @ self.w_star)

    @cached_property
    def true_map(self) -> Float[np.ndarray, "d r"]:
        """T with E[z | x] = T^T x, the truth."""
        return np.linalg.solve(self.S, self.B)

    def excess(self, w: Float[np.ndarray, " d"]) -> float:
        return float((w - self.w_star) @ self.S @ (w - self.w_star))

    def floor(self, T: Float[np.ndarray, "d k"]) -> float:
        """Excess of the best head on the features T^T x: what is left of the excess with endless labels."""
        return self.excess(T @ np.linalg.lstsq(T.T @ self.S @ T, T.T @ self.c)[0])

    def sample(self, rng: np.random.Generator, n: int) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        """Labelled points; from equal generators a smaller sample is the beginning of a larger one."""
        d, r = self.B.shape
        z, mu, nu = np.split(rng.standard_normal((n, r + d + 1)), [r, r + d], axis=1)
        x = z @ self.B.T + mu @ np.linalg.cholesky(self.Sigma).T
        return x, z @ self.beta + x @ self.gamma + self.sigma * nu[:, 0]


def draw_problem(rng: np.random.Generator, d: int, r: int, s: float, sigma: float, rho: float = 0.0, informative: bool = True) -> FactorProblem:
    """B = s (orthonormal columns), noise with covariance rho^|i - j|, |beta| = 1. Uninformative: beta = 0, and |gamma| = 1 orthogonal to the columns of B."""
    U = np.linalg.qr(rng.standard_normal((d, r)))[0]
    beta, gamma = rng.standard_normal(r), rng.standard_normal(d)
    gamma -= U @ (U.T @ gamma)
    beta, gamma = (beta / np.linalg.norm(beta), 0 * gamma) if informative else (0 * beta, gamma / np.linalg.norm(gamma))
    Sigma = rho ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
    return FactorProblem(s * U, Sigma, beta, gamma, sigma)


# ---- phase 1: the factor model, without labels ----


def sample_covariance(rng: np.random.Generator, S: Float[np.ndarray, "d d"], m: int) -> Float[np.ndarray, "d d"]:
    """X^T X / m for m points from N(0, S), which is all that the likelihood needs, in law; for m >= d without drawing X (Bartlett's decomposition)."""
    d, L = len(S), np.linalg.cholesky(S)
    if m < d:
        X = rng.standard_normal((m, d)) @ L.T
        return X.T @ X / m
    A = np.tril(rng.standard_normal((d, d)), -1) + np.diag(np.sqrt(rng.chisquare(m - np.arange(d))))
    return (L @ A) @ (L @ A).T / m


def factor_mle(S_hat: Float[np.ndarray, "d d"], r: int) -> Float[np.ndarray, "d r"]:
    """The maximum-likelihood B for noise I, unique up to a rotation: U_r diag(sqrt(max(eigenvalues - 1, 0)))."""
    eigenvalues, U = eigh(S_hat, subset_by_index=[len(S_hat) - r, len(S_hat) - 1])
    return U * np.sqrt(np.maximum(eigenvalues - 1, 0))


def log_likelihood(B: Float[np.ndarray, "d r"], S_hat: Float[np.ndarray, "d d"]) -> float:
    """Mean log density of N(0, B B^T + I) on points with second moment S_hat."""
    S = B @ B.T + np.eye(len(B))
    return float(-(len(B) * np.log(2 * np.pi) + np.linalg.slogdet(S)[1] + np.trace(np.linalg.solve(S, S_hat))) / 2)


def posterior_map(B: Float[np.ndarray, "d r"]) -> Float[np.ndarray, "d r"]:
    """T with E[z | x] = T^T x under the fitted model: (B B^T + I)^{-1} B."""
    return np.linalg.solve(B @ B.T + np.eye(len(B)), B)


# ---- phase 2, and learning from labels alone ----


def least_squares_head(T: Float[np.ndarray, "d k"], X: Float[np.ndarray, "n d"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " d"]:
    """Least squares of y on T^T x, without intercept, as a predictor on x. T = I: plain least squares, of minimum norm where n < d."""
    return T @ np.linalg.lstsq(X @ T, y)[0]


def ridge(X: Float[np.ndarray, "n d"], y: Float[np.ndarray, " n"], folds: int = 5) -> Float[np.ndarray, " d"]:
    """argmin |y - X w|^2 / n + lambda |w|^2 with the lambda of the least squared error in 5-fold cross-validation."""
    parts = np.array_split(np.arange(len(y)), folds)
    gram, moment, error = X.T @ X, X.T @ y, np.zeros(len(LAMBDAS))
    for part in parts:
        W = ridge_path(gram - X[part].T @ X[part], moment - X[part].T @ y[part], len(y) - len(part))
        error += ((X[part] @ W - y[part, None]) ** 2).sum(axis=0)
    return ridge_path(gram, moment, len(y))[:, error.argmin()]


def ridge_path(gram: Float[np.ndarray, "d d"], moment: Float[np.ndarray, " d"], n: int) -> Float[np.ndarray, "d lambdas"]:
    """(gram / n + lambda I)^{-1} moment / n for every lambda, from one eigendecomposition."""
    eigenvalues, V = np.linalg.eigh(gram / n)
    return V @ ((V.T @ moment / n)[:, None] / (np.maximum(eigenvalues, 0)[:, None] + LAMBDAS))


# ---- exact errors ----


def expected_excess(floor: float, residual: float, k: int, n: int) -> float:
    """Expected excess of least squares with k Gaussian features and n > k + 1 labels, exactly: floor + (residual + floor) k / (n - k - 1).

    What the features cannot explain of y has variance residual + floor and is independent of them; E tr (F^T F)^{-1} of the features is k / (n - k - 1).
    k = d, floor = 0: least squares on x. k = r, floor = 0: the true B known.
    """
    return floor + (residual + floor) * k / (n - k - 1)


def limit_floor(d: int, r: int, s: float, m: int) -> float:
    """The floor after phase 1 on m points as d and m grow together, for |beta| = 1 and white noise: min((d - r) / m, s^4) / (s^2 + s^4).

    In the spiked covariance model with spikes 1 + s^2 (Paul, 2007) the squared cosine between the columns of B and their estimate tends to
    C = (1 - g / s^4) / (1 + g / s^2), g = (d - r) / m, and to 0 once g >= s^4. The floor 1 / (1 + s^2 C) - 1 / (1 + s^2) is then g / (s^2 + s^4), and not
    to first order only, up to all that the inputs tell about y, s^2 / (1 + s^2), at the threshold m = (d - r) / s^4, below which phase 1 finds nothing.
    """
    return min((d - r) / m, s**4) / (s**2 + s**4)
