"""Infinitely wide and deep networks as classifiers: kernels whose depth tends to infinity, the three rules that they tend to, and the data.

Inputs lie on the unit sphere S^d (d + 1 coordinates, none negative), labels are +-1, and the network trained to interpolation answers

    sign( y^T K_train^-1 K(X_train, x) ),    K the NNGP or NTK of depth L.

With phi normalised and phi^ its dual (shared/kernels.py), what happens as L grows depends on the two ends of phi^:

    A^2 = phi^(0),  A'^2 = phi^'(0),  B' = phi^'(1)
    A = A' = 0                      1-nearest neighbour
    A != 0 (ReLU too)               majority vote
    A = 0, 0 < A'^2 < 1 < B'        sum_i y_i R(|x - x_i|) / |x - x_i|^alpha  with  alpha = -4 ln A' / ln B'

and alpha = d is the Hilbert estimate of Devroye, Gyorfi and Krzyzak (1998), whose error tends to the Bayes error.
Everything is a function of t = 1 - rho = |x - x'|^2 / 2, which is summed from differences of coordinates: 1 - x.x' of close points is all rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from shared.kernels import Cosines, Dual, angle_of, cosines, erf_dual, gram, log_power_kernel, nngp, ntk, polynomial_dual, power_dual, relu_dual, sine_dual

# ---- activations ----


def consistent_dual(d: int) -> Dual:
    """The paper's activation for dimension d: phi^'(1) = 4, phi^'(0) = 1/2 for d = 1; phi^'(1) = 2, phi^'(0) = 2^(-d/2) for d >= 2."""
    if d == 1:
        return polynomial_dual((0, 0.5, 0, 0, 0, 0, 0, 0.5), "2d_opt")
    outer = 2 ** (-d / 2)
    return polynomial_dual((0, outer, 1 - 2 * outer, outer), f"{d + 1}d_opt")


ACTIVATIONS: dict[str, Dual] = {
    "2d_opt": consistent_dual(1),
    "3d_opt": consistent_dual(2),
    "5d_opt": consistent_dual(4),
    "9d_opt": consistent_dual(8),
    "sine_1": sine_dual(1.0),
    "sine_2.676": sine_dual(2.676),
    "sine_6.1": sine_dual(6.13539),
    "sine_13.8": sine_dual(13.8258),
    "erf": erf_dual(),
    "hermite_2": power_dual(2),
    "fast_majority": polynomial_dual((0.2, 0, 0.8)),
    "relu": relu_dual(),
}
"""By the names of the official code; fast_majority is ours. "3d_opt" is for three coordinates, that is d = 2."""
DEPTH = {"erf": 200, "sine_6.1": 50, "sine_13.8": 50, "hermite_2": 40}
"""Layers L of the official runs, where they are not 100 (hermite_2: 40 is enough)."""


def ends(dual: Dual) -> tuple[float, float, float]:
    """A^2, A'^2 and B'."""
    zero, one = np.array(0.0), np.array(1.0)
    return float(dual.value(zero)), float(dual.derivative(zero)), float(dual.derivative(one))


def limit_rule(dual: Dual) -> str:
    """What the classifier tends to: ``nearest``, ``majority`` or ``singular``.

    With A = 0, B' = sum_k k a_k^2 is at least 1, and 1 for the linear activation alone, whose kernel is rho at every depth and tends to none of the three.
    """
    A2, A1_2, B1 = ends(dual)
    if A2 > 0:
        return "majority"
    if B1 <= 1:
        raise ValueError(f"{dual.name} is linear: its kernel does not change with depth")
    return "nearest" if A1_2 == 0 else "singular"


def alpha(dual: Dual) -> float:
    """Exponent of the singular kernel, -4 ln A' / ln B'."""
    _, A1_2, B1 = ends(dual)
    return -2 * math.log(A1_2) / math.log(B1)


# ---- data: two Dirichlet classes, normalised to the sphere ----

DIRICHLET = {  # d -> parameters of class +1 and class -1 (official code)
    1: ((1, 2), (2, 1)),
    2: ((0.5, 0.5, 2.5), (2.5, 0.1, 0.5)),
    4: ((3, 1, 2, 1, 1), (1, 2, 2, 2, 3)),
    8: ((1, 2, 1, 2, 1, 1, 1, 1, 1), (1, 1, 1, 2, 3, 4, 2, 2, 1)),
}
PRIOR = 0.4
"""Probability of class +1."""


def draw_points(n: int, d: int, rng: np.random.Generator) -> tuple[Float[np.ndarray, "n d+1"], Float[np.ndarray, " n"]]:
    """Points of S^d and labels +-1. Draws anew while two points coincide."""
    first, second = DIRICHLET[d]
    while True:
        y = np.where(rng.random(n) < PRIOR, 1.0, -1.0)
        p = np.where(y[:, None] > 0, rng.dirichlet(first, n), rng.dirichlet(second, n))
        x = p / np.linalg.norm(p, axis=1, keepdims=True)
        if len(np.unique(x, axis=0)) == n:
            return x, y


def posterior(x: Float[np.ndarray, "n d+1"], d: int) -> Float[np.ndarray, " n"]:
    """eta(x) = P(y = +1 | x), from the Dirichlet densities at the point of the simplex that x was made of; the Bayes classifier is eta > 1/2."""
    p = x / x.sum(axis=1, keepdims=True)
    a, b = (np.array(parameters, float) for parameters in DIRICHLET[d])
    log_beta_a, log_beta_b = (sum(map(math.lgamma, c)) - math.lgamma(c.sum()) for c in (a, b))
    log_odds = math.log(PRIOR / (1 - PRIOR)) + np.log(p) @ (a - b) - log_beta_a + log_beta_b
    return 1 / (1 + np.exp(-log_odds))


# ---- deep kernels as functions of t ----


def half_squared_distances(X: Float[Tensor, "n k"], Y: Float[Tensor, "m k"]) -> Float[Tensor, "n m"]:
    """t = |x - y|^2 / 2 of all pairs, in blocks of rows."""
    return gram(lambda A, B: cosines(A, B).t, X, Y)


class DeepKernel:
    """K_L(t) for t in [0, 1], from the exact recursion at ``knots`` values of t and a cubic spline of log K in log t between them.

    A pair of points enters a kernel on the sphere by one number, so the L layers need not be repeated for every pair. log K is smooth in log t (the spline's
    relative error is below 1e-6, tested); where phi^(0) = 0, K vanishes like rho at t = 1, and log(K / rho) is interpolated instead.
    """

    CLOSEST = 1e-32  # half the squared spacing of float64 next to 1

    def __init__(self, dual: Dual, depth: int, kind: str = "nngp", knots: int = 32_768, device: str = "cpu"):
        self.first, self.knots = math.log(self.CLOSEST), knots
        u = np.linspace(self.first, 0.0, knots)
        pairs = Cosines(np.maximum(-np.expm1(u), 1e-20), np.exp(u))
        K = nngp(pairs, dual, depth).rho if kind == "nngp" else ntk(pairs, dual, depth)
        if K.min() < np.finfo(float).tiny:
            raise ValueError(f"{dual.name} of depth {depth} underflows: its kernel is not a positive float64 everywhere")
        self.vanishes = limit_rule(dual) == "singular"
        spline = CubicSpline(u, np.log(K / pairs.rho if self.vanishes else K))
        self.coefficients = torch.as_tensor(spline.c.T.copy(), device=device)  # (knots - 1, 4), highest power first
        self.diagonal = float(1 if kind == "nngp" else ntk(Cosines(np.array(1.0), np.array(0.0)), dual, depth))

    def __call__(self, t: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """K of pairs of different points, none of them more than a right angle apart."""
        if t.numel() and t.max() > 1 + 1e-9:
            raise ValueError(f"an inner product of {1 - t.max().item():.3g}: kernels are tabulated for non-negative ones")
        u = t.clamp(self.CLOSEST, 1.0).log_()
        step = -self.first / (self.knots - 1)
        place = ((u - self.first) / step).long().clamp_(0, self.knots - 2)
        u -= self.first + place.double() * step
        a, b, c, e = self.coefficients[place].unbind(-1)
        K = (((a * u + b) * u + c) * u + e).exp_()
        return K * (1 - t).clamp_(0) if self.vanishes else K

    def train(self, t: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
        """K of the training points, its diagonal exact."""
        return self(t).fill_diagonal_(self.diagonal)


def deep_ntk(s: Cosines, dual: Dual, depth: float, recursion: int = 150) -> np.ndarray:
    """K_L / (A'^2L (L + 1)) of a singular dual at any depth L, 10^12 as well.

    After ``recursion`` layers S is so small that phi^(S) = A'^2 S and phi^'(S) = A'^2 to the last digit, and from there on
    K_{m + j} / A'^{2j} = K_m + j S_m.
    """
    m = int(min(recursion, depth))
    _, A1_2, _ = ends(dual)
    return (ntk(s, dual, m) + (depth - m) * nngp(s, dual, m).rho) / (A1_2**m * (depth + 1))


def relu_ntk_limit(t: Float[Tensor, "n m"], depth: int) -> Float[Tensor, "n m"]:
    """K_L / (L + 1) of deep ReLU networks in closed form: a quarter at x = 0, and the diagonal's 1 as x grows, where x = 3 pi / (L angle).

    A small angle shrinks by angle^2 / (3 pi) a layer, so that angle_l = 3 pi / (l + c) with c = 3 pi / angle_0, and phi^' = 1 - angle / pi turns the NTK's
    recursion into dK/dl = 1 - 3 K / (l + c), from K = 0. So nearness counts by L angle alone: ReLU is the majority vote where x is small for every pair.
    """
    x = 3 * math.pi / (depth * angle_of(t))
    return ((1 + x) - x * (x / (1 + x)) ** 3) / 4


# ---- classifiers: scores of test points, predicted class +1 where positive ----


def interpolate(K_train: Float[Tensor, "n n"], y: Float[Tensor, "n ..."], K_test: Float[Tensor, "m n"]) -> Float[Tensor, "m ..."]:
    """K_test K_train^-1 y, without ridge; 1e-9 on the diagonal where K_train is singular in float64 (shallow networks: polynomials of low degree)."""
    factor, failed = torch.linalg.cholesky_ex(K_train)
    if failed:
        factor, failed = torch.linalg.cholesky_ex(
            K_train + 1e-9 * K_train.diagonal().mean() * torch.eye(len(K_train), dtype=K_train.dtype, device=K_train.device)
        )
        if failed:
            raise ValueError("the kernel matrix is not positive definite")
    solution = torch.cholesky_solve(y.reshape(len(y), -1), factor)
    return (K_test @ solution).reshape(len(K_test), *y.shape[1:])


def interpolate_power(t_train: Float[Tensor, "n n"], y: Float[Tensor, " n"], t_test: Float[Tensor, "m n"], p: int, depth: int) -> Float[Tensor, " m"]:
    """The same for phi = he_p, whose kernels underflow to 0: every test point's kernel is divided by its largest value, which no sign depends on."""
    K_train = log_power_kernel(Cosines(1 - t_train, t_train), p, depth).exp()
    log_K = log_power_kernel(Cosines(1 - t_test, t_test), p, depth)
    return interpolate(K_train, y, (log_K - log_K.amax(dim=1, keepdim=True)).exp())


def hilbert(t_test: Float[Tensor, "m n"], y: Float[Tensor, " n"], d: float) -> Float[Tensor, " m"]:
    """The Hilbert estimate sum_i y_i / |x - x_i|^d."""
    return (2 * t_test).pow(-d / 2) @ y


def nearest(X: Float[np.ndarray, "n k"], y: Float[np.ndarray, " n"], X_test: Float[np.ndarray, "m k"]) -> Float[np.ndarray, " m"]:
    """The label of the nearest training point (up to 15 coordinates by a tree of coordinates, exact for close points too)."""
    return KNeighborsClassifier(1).fit(X, y).predict(X_test)


# ---- the limit of many examples ----


def accuracy_with_infinitely_many(eta: Float[np.ndarray, " m"], ratio: float, rng: np.random.Generator, neighbours: int = 400) -> float:
    """Accuracy of sum_i y_i |x - x_i|^-alpha as n -> infinity, for ratio = alpha / d > 1, at points of posterior ``eta``.

    Around x the n points tend to a Poisson process, so that |x - x_i|^d is proportional to G_i = E_1 + ... + E_i, E exponential, and their labels are
    independent coins of probability eta(x): the vote sum_i s_i G_i^-ratio never settles. Beyond ``neighbours`` terms it is replaced by its mean.
    """
    G = rng.exponential(size=(len(eta), neighbours)).cumsum(axis=1)
    s = np.where(rng.random(G.shape) < eta[:, None], 1.0, -1.0)
    weight = (G / G[:, :1]) ** -ratio  # the nearest point's is 1
    vote = (s * weight).sum(axis=1) + (2 * eta - 1) * G[:, -1] * weight[:, -1] / (ratio - 1)
    return expected_accuracy(vote, eta)


def expected_accuracy(scores: Float[np.ndarray, " m"], eta: Float[np.ndarray, " m"]) -> float:
    """Accuracy in expectation over the labels of the test points: what a test set measures, without the noise of its labels."""
    return float(np.where(scores > 0, eta, 1 - eta).mean())


# ---- finite networks ----


@dataclass(frozen=True)
class RandomNetwork:
    """Fully connected at initialisation: h_0 = x, h_{l+1} = phi(W_l h_l) / sqrt(m) with standard normal W_l; |h_L . h_L'| tends to S_L."""

    dual: Dual
    width: int
    depth: int

    def nngp(self, x: Float[np.ndarray, "n k"], rng: np.random.Generator) -> Float[np.ndarray, "n n"]:
        """Inner products of the last hidden layer of one draw."""
        h = x
        for _ in range(self.depth):
            h = self.dual.activation(h @ rng.standard_normal((h.shape[1], self.width))) / math.sqrt(self.width)
        return h @ h.T
