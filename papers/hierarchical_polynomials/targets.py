"""Targets h = g(p(x)) with their exact moments, and the approximate Stein lemma: the best quadratic fit of h is E[g'] p up to O(d^(-1/2)).

Float64 torch on any device. Shapes: x (n, d) with rows N(0, I_d); p(x) and h(x) (n,). he_k = He_k / sqrt(k!) is orthonormal under N(0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def hermite(k: int, t: Tensor) -> Tensor:
    """he_k(t) for k = 1, 2, 3."""
    return {1: t, 2: (t**2 - 1) / math.sqrt(2), 3: (t**3 - 3 * t) / math.sqrt(6)}[k]


def link(name: str, t: Tensor) -> Tensor:
    """g: "generic" is (t + he_2(t)) / sqrt(2), with E[g'(z)] = 1 / sqrt(2); "even" is he_2(t), with E[g'(z)] = 0, the negative control."""
    return (t + hermite(2, t)) / math.sqrt(2) if name == "generic" else hermite(2, t)


MEAN_SLOPE = 1 / math.sqrt(2)
"""E[g'(z)] of the generic link."""
EXCESS = {("hermite", 2): 12.0, ("hermite", 3): 90.0, ("parity", 2): 12.0, ("parity", 3): 72.0}
"""(family, k) -> kappa: the excess kurtosis E[p^4] - 3 is kappa / d."""


@dataclass(frozen=True)
class Target:
    """h = g(p), p of mean 0 and variance 1. Its orthonormal coordinates are z = Q^T x.

    "hermite": p = d^(-1/2) sum_i lam_i he_k(z_i), lam_i = +-1. "parity": p = L^(-1/2) sum_l prod_{j in block l} z_j over L = d / k disjoint blocks of k.
    """

    Q: Tensor  # (d, d) orthogonal
    signs: Tensor  # (d,) lam_i
    k: int = 2
    family: str = "hermite"
    link: str = "generic"

    @property
    def d(self) -> int:
        return len(self.signs)

    def p(self, x: Tensor) -> Tensor:
        """The hidden feature, (n,)."""
        z = x @ self.Q
        if self.family == "parity":
            return z.reshape(len(x), -1, self.k).prod(dim=2).sum(dim=1) / math.sqrt(self.d // self.k)
        return hermite(self.k, z) @ self.signs / math.sqrt(self.d)

    def __call__(self, x: Tensor) -> Tensor:
        return link(self.link, self.p(x))

    @property
    def variance(self) -> float:
        """Var h, exact, from Var he_2(p) = (E p^4 - 1) / 2 and Cov(p, he_2(p)) = E p^3 / sqrt(2)."""
        quadratic = 1 + EXCESS[self.family, self.k] / (2 * self.d)
        if self.link == "even":
            return quadratic
        skewness = 2 * math.sqrt(2) * float(self.signs.sum()) / self.d**1.5 if (self.family, self.k) == ("hermite", 2) else 0.0
        return (1 + quadratic + math.sqrt(2) * skewness) / 2

    @property
    def plateau(self) -> float:
        """Var h - Var P_{<=k} h: the error of the best predictor of degree k. The part of he_2(p) below degree k has norm k / sqrt(d).

        The generic link with balanced signs, where that part is orthogonal to p.
        """
        return self.variance - (1 + self.k**2 / self.d) / 2


def draw_target(rng: np.random.Generator, d: int, *, balanced: bool = True, device: str = "cpu", **kind) -> Target:
    """Q uniform on the orthogonal group; signs balanced (sum 0), so that p is far from the radial |x|^2, or independent. ``kind``: k, family, link."""
    gaussian = rng.standard_normal((d, d))
    Q, R = np.linalg.qr(gaussian)
    signs = rng.permutation(np.repeat([1.0, -1.0], d // 2)) if balanced else rng.choice([1.0, -1.0], size=d)
    return Target(*(torch.as_tensor(part, device=device) for part in (Q * np.sign(np.diag(R)), signs)), **kind)


def projected_quadratic(target: Target, x: Tensor) -> Tensor:
    """P_2 h in closed form (k = 2, generic link): E[g'] (p + (2 / sqrt d) q), q = d^(-1/2) sum_i he_2(z_i), whatever the signs. (n,)"""
    q = hermite(2, x @ target.Q).sum(dim=1) / math.sqrt(target.d)
    return MEAN_SLOPE * (target.p(x) + 2 / math.sqrt(target.d) * q)


def feature_limit(k: int, d: int) -> float:
    """Correlation of p with the population stage 1 (n, m1 to infinity), balanced signs: 1 / sqrt(1 + k^2 / d)."""
    return 1 / math.sqrt(1 + k**2 / d)


# ---- Approximate Stein lemma (Lemma 2): P_k h = E[g'] p + O(d^(-1/2)), k = 2 ----


def quadratic_form(target: Target) -> Tensor:
    """A with p(x) = x^T A x - tr A, (d, d). Such a function has norm sqrt(2) |A|_F."""
    return (target.Q * target.signs) @ target.Q.T / math.sqrt(2 * target.d)


def stein_gap(A: Tensor) -> float:
    """|P_2 h / E[g'] - p| exactly, for any quadratic p. By Stein's identity P_2 f has the form E[hessian f] / 2; he_2(p) gives 4 A^2 / sqrt(2)."""
    return math.sqrt(2) * float(torch.linalg.norm(4 * A @ A / math.sqrt(2)))


def stein_gap_sampled(target: Target, draw: Callable[[int], Tensor], points: int, block: int = 20_000) -> float:
    """The same by Monte Carlo, knowing only p and samples of h: the form of P_2 h is E[h (x x^T - I)] / 2.

    The square of the gap is the scalar product of two estimates from disjoint halves of the points, which has no bias; ``draw(n)`` returns x (n, d).
    """
    A, identity = quadratic_form(target), torch.eye(target.d, dtype=target.Q.dtype, device=target.Q.device)
    gaps = []
    for _ in range(2):
        form, seen = torch.zeros_like(A), 0
        while seen < points // 2:
            x = draw(min(block, points // 2 - seen))
            h = target(x)
            form += (x.T @ (h[:, None] * x) - h.sum() * identity) / 2
            seen += len(x)
        gaps.append(form / seen / MEAN_SLOPE - A)
    return math.sqrt(max(2 * float((gaps[0] * gaps[1]).sum()), 0.0))
