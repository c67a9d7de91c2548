"""Contrastive learning: phase 1 (maximum likelihood on pairs that say alike or not), phase 2 (least squares on the embedding), and the exact errors.

x, x' ~ N(0, I_d), t ~ Bernoulli(sigmoid((A x) . (A x'))), A of shape (r, d); y = w . (A x) + nu, nu ~ N(0, sigma^2). A = s (orthonormal rows).
Downstream this is the linear problem of ``model.FactorProblem`` with S = I and w* = A^T w.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import chi, norm

from papers.provable_pretraining.model import FactorProblem


class Pairs(NamedTuple):
    x: Float[np.ndarray, "m d"]
    x_prime: Float[np.ndarray, "m d"]
    t: Bool[np.ndarray, " m"]


def draw_embedding(rng: np.random.Generator, d: int, r: int, s: float) -> Float[np.ndarray, "r d"]:
    return s * np.linalg.qr(rng.standard_normal((d, r)))[0].T


def downstream(A: Float[np.ndarray, "r d"], w: Float[np.ndarray, " r"], sigma: float) -> FactorProblem:
    """The labelled problem: white inputs, no latent of its own."""
    d = A.shape[1]
    return FactorProblem(np.zeros((d, 1)), np.eye(d), np.zeros(1), A.T @ w, sigma)


def draw_pairs(rng: np.random.Generator, A: Float[np.ndarray, "r d"], m: int) -> Pairs:
    x, x_prime = rng.standard_normal((2, m, A.shape[1]))
    return Pairs(x, x_prime, rng.random(m) < expit(((x @ A.T) * (x_prime @ A.T)).sum(axis=1)))


def loss_and_gradient(A: Float[np.ndarray, "r d"], pairs: Pairs) -> tuple[float, Float[np.ndarray, "r d"]]:
    """Mean of -log p(t | x, x') = log(1 + e^f) - t f with f = (A x) . (A x'), and its gradient mean of (sigmoid(f) - t) ((A x') x^T + (A x) x'^T)."""
    h, h_prime = pairs.x @ A.T, pairs.x_prime @ A.T  # (m, r)
    f = (h * h_prime).sum(axis=1)
    slope = (expit(f) - pairs.t)[:, None] / len(f)
    return float((np.logaddexp(0, f) - pairs.t * f).mean()), (slope * h_prime).T @ pairs.x + (slope * h).T @ pairs.x_prime


def contrastive_mle(rng: np.random.Generator, pairs: Pairs, r: int, starts: int = 5) -> Float[np.ndarray, "r d"]:
    """The best of so many runs of L-BFGS from random embeddings; A is determined up to a rotation of its rows."""
    shape = (r, pairs.x.shape[1])

    def objective(flat):
        loss, gradient = loss_and_gradient(flat.reshape(shape), pairs)
        return loss, gradient.ravel()

    begin = rng.standard_normal((starts, r * shape[1])) / np.sqrt(shape[1])
    fits = [minimize(objective, a, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-7}) for a in begin]
    return min(fits, key=lambda fit: fit.fun).x.reshape(shape)


def information(r: int, s: float) -> float:
    """Fisher information that one pair holds about each entry of A that leaves its row space.

    A + E with E A^T = 0 changes f by (E x) . (A x') + (A x) . (E x'), where E x is independent of f. So the information is
    E[sigmoid'(f) df^2] = 2 s^2 kappa |E|^2 with kappa = E[sigmoid'(s^2 u . u') |u|^2] / r and u, u' ~ N(0, I_r); and u . u' given |u| is N(0, |u|^2).
    """
    length, g = np.linspace(0, 15, 500), np.linspace(-10, 10, 1001)[:, None]
    p = expit(s**2 * length * g)
    slope = np.trapezoid(p * (1 - p) * norm.pdf(g), g, axis=0)  # E[sigmoid'(s^2 u . u') | |u| = length]
    kappa = np.trapezoid(slope * length**2 * chi.pdf(length, r), length) / r
    return float(2 * s**2 * kappa)


def mean_floor(A_hat: Float[np.ndarray, "r d"], A: Float[np.ndarray, "r d"]) -> float:
    """Excess of the best head on A_hat x, averaged over the directions of w (|w| = 1): |A (I - P)|^2 / r with P the projection onto the rows of A_hat."""
    V = np.linalg.qr(A_hat.T)[0]
    return float(((A - A @ V @ V.T) ** 2).sum() / len(A))


def limit_floor(d: int, r: int, s: float, m: int) -> float:
    """The mean floor for large m: the maximum-likelihood E has independent entries of variance 1 / (m information), d - r in each row."""
    return (d - r) / (m * information(r, s))
