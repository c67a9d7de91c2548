"""Mixtures in closed form: a Gaussian with any number of redundant parameters, a singular product of two, a coin with a grid of hypotheses. Regrets in nats."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import stats
from scipy.special import k0

# ---- y = x^T A theta + N(0, 1), theta ~ N(0, I_m), x ~ N(0, I_k): m parameters of which k combinations matter ----


def orthonormal_rows(rng: np.random.Generator, k: int, m: int) -> Float[np.ndarray, "k m"]:
    """A random A with A A^T = I."""
    return np.linalg.qr(rng.normal(size=(m, k)))[0].T


def draw_statistics(
    rng: np.random.Generator, k: int, sizes: Int[np.ndarray, " n"], sequences: int
) -> tuple[Float[np.ndarray, "sequences n k k"], Float[np.ndarray, "sequences n k"]]:
    """G = X^T X and c = X^T noise after each of ``sizes`` examples, drawn from their joint law: between two sizes G grows by a Wishart matrix L L^T
    (Bartlett: chi variables on the diagonal of L, normals below) and c, given it, by L N(0, I). The steps must be k or more."""
    steps = np.diff(sizes, prepend=0)
    L = np.tril(rng.normal(size=(sequences, len(sizes), k, k)), -1)
    i = np.arange(k)
    L[..., i, i] = np.sqrt(rng.chisquare(steps[:, None] - i, size=(sequences, len(sizes), k)))
    c = (L @ rng.normal(size=(*L.shape[:-1], 1)))[..., 0]
    return (L @ L.swapaxes(-1, -2)).cumsum(axis=1), c.cumsum(axis=1)


def gaussian_log_ratio(
    G: Float[np.ndarray, "... k k"], c: Float[np.ndarray, "... k"], mu0: Float[np.ndarray, " k"], Sigma: Float[np.ndarray, "k k"]
) -> Float[np.ndarray, " ..."]:
    """ln P_theta0(y | X) - ln Q(y | X) with mu0 = A theta0 and Sigma = A A^T, the prior covariance of A theta.

    Q is N(0, I + X Sigma X^T): 2 ln(P / Q) = ln det(I + Sigma G) + |y|^2 - |y - X mu0|^2 - b^T (Sigma^-1 + G)^-1 b with b = X^T y.
    """
    b = (G @ mu0) + c
    I = np.eye(len(mu0))
    fitted = np.linalg.solve(I + Sigma @ G, (b @ Sigma)[..., None])[..., 0]  # the posterior mean of A theta
    return 0.5 * (np.linalg.slogdet(I + Sigma @ G)[1] + mu0 @ G @ mu0 + 2 * c @ mu0 - (b * fitted).sum(axis=-1))


def gaussian_regret_given_inputs(G: Float[np.ndarray, "... k k"], mu0: Float[np.ndarray, " k"], Sigma: Float[np.ndarray, "k k"]) -> Float[np.ndarray, " ..."]:
    """The expectation of that over the noise, c ~ N(0, G): (ln det(I + Sigma G) - tr S + mu0^T G (I + Sigma G)^-1 mu0) / 2, S = (I + Sigma G)^-1 Sigma G."""
    I = np.eye(len(mu0))
    inverse = np.linalg.inv(I + Sigma @ G)
    trace = np.trace(inverse @ Sigma @ G, axis1=-2, axis2=-1)
    return 0.5 * (np.linalg.slogdet(I + Sigma @ G)[1] - trace + mu0 @ (G @ inverse) @ mu0)


def gaussian_bound(sizes: Int[np.ndarray, " n"], mu0: Float[np.ndarray, " k"]) -> Float[np.ndarray, " n"]:
    """min over eps of ln(1 / W_eps) + n eps: D = |A theta - mu0|^2 / 2 for these inputs, so that 2 D is noncentral chi-squared under the prior."""
    eps = np.geomspace(1e-7, 10, 600)
    log_W = stats.ncx2.logcdf(2 * eps, len(mu0), mu0 @ mu0)
    return (sizes[:, None] * eps - log_W).min(axis=1)


def direction_regret(n, mu0: float):
    """R_n for y_t = a . theta + N(0, 1), a a unit vector, a . theta0 = mu0, whatever the number of parameters: no inputs to average over."""
    n = np.asarray(n, float)
    return 0.5 * (np.log1p(n) - n / (1 + n) + mu0**2 * n / (1 + n))


# ---- y ~ N(theta1 theta2, 1), theta ~ N(0, I_2) ----


def singular_log_ratio(n: float, s: Float[np.ndarray, " ..."], mu0: float) -> Float[np.ndarray, " ..."]:
    """ln P_mu0(y^n) - ln Q(y^n), s the sum of the y_t.

    Given theta1 = a, theta2 integrates out: N(y; a theta2, 1) over theta2 is (1 + n a^2)^(-1/2) exp(a^2 s^2 / (2 (1 + n a^2))) times the law of mu = 0. What is
    left is smooth in ln|a|, for which the trapezium rule converges exponentially.
    """
    log_a = np.linspace(-32, 3, 701)
    a2 = np.exp(2 * log_a)
    log_weight = np.log(2 * (log_a[1] - log_a[0])) + log_a - 0.5 * a2 - 0.5 * np.log(2 * np.pi)  # both signs of a; d a = a d ln a
    exponent = log_weight - 0.5 * np.log1p(n * a2) + 0.5 * np.square(s)[..., None] * a2 / (1 + n * a2)
    return mu0 * s - 0.5 * n * mu0**2 - np.logaddexp.reduce(exponent, axis=-1)


def singular_regret(n: float, mu0: float) -> float:
    """R_n, the mean over s ~ N(n mu0, n) by Gauss-Hermite quadrature."""
    xi, weights = np.polynomial.hermite_e.hermegauss(80)
    return float(singular_log_ratio(n, n * mu0 + np.sqrt(n) * xi, mu0) @ weights / weights.sum())


def regular_asymptote(n, mu0: float):
    """A regular truth (Clarke and Barron): ln(n / (2 pi e)) / 2 + ln(1 / w(mu0)), with w = K_0(|mu|) / pi the density of a product of two normals."""
    return 0.5 * np.log(np.asarray(n, float) / (2 * np.pi * np.e)) + np.log(np.pi / k0(abs(mu0)))


# ---- coins ----


def coin_regret(n: int, theta0: float) -> float:
    """R_n under the uniform prior on [0, 1]: ln(n + 1) - H(Binomial(n, theta0))."""
    return float(np.log(n + 1) - stats.binom(n, theta0).entropy())


def coin_grid_regret(n: int, theta0: float, grid: Float[np.ndarray, " K"]) -> float:
    """R_n, exactly, under equal weights on the K points of ``grid``."""
    heads = np.arange(n + 1)[:, None]

    def log_likelihood(theta):
        return stats.binom.logpmf(heads, n, theta)  # (n + 1, len(theta))

    truth = log_likelihood(np.array([theta0]))[:, 0]
    log_Q = np.logaddexp.reduce(log_likelihood(grid), axis=1) - np.log(len(grid))
    return float(np.exp(truth) @ (truth - log_Q))
