"""The layerwise three-layer network. Both stages are ridge regressions on fixed features: in closed form, and by gradient descent.

Everything is float64 torch on any device. Shapes: x (n, d), y (n,).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from papers.hierarchical_polynomials.targets import hermite

# ---- Ridge regression, in closed form and by gradient descent ----


def ridge(Z: Tensor, y: Tensor, lams: Sequence[float]) -> Tensor:
    """The minimiser of (1/2n) |Z w - y|^2 + (lam/2) |w|^2 for every lam. Z (n, m) -> (len(lams), m). Factorises the smaller of Z^T Z and Z Z^T."""
    n, m = Z.shape
    H, b = (Z.T @ Z / n, Z.T @ y / n) if m <= n else (Z @ Z.T / n, y / n)
    identity = torch.eye(len(H), dtype=H.dtype, device=H.device)
    solved = torch.stack([torch.cholesky_solve(b[:, None], torch.linalg.cholesky(H + lam * identity))[:, 0] for lam in lams])
    return solved if m <= n else solved @ Z


def descend(Z: Tensor, y: Tensor, lam: float, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Full-batch gradient descent on the same loss from w = 0 with step 1 / (largest eigenvalue of the Hessian).

    Returns the weights after each of the increasing numbers of ``steps``, (len(steps), m), and the loss after every step from 0 on.
    """
    H, b = Z.T @ Z / len(Z), Z.T @ y / len(Z)
    H = H + lam * torch.eye(len(H), dtype=H.dtype, device=H.device)
    rate = 1 / torch.linalg.eigvalsh(H)[-1]
    w, kept, losses, wanted = torch.zeros_like(b), [], [], set(steps)
    for step in range(steps[-1] + 1):
        gradient = H @ w - b
        losses.append((w @ gradient - b @ w + y @ y / len(y)) / 2)
        if step in wanted:
            kept.append(w)
        w = w - rate * gradient
    return torch.stack(kept), torch.stack(losses)


# ---- The three-layer network ----


@dataclass(frozen=True)
class FirstLayer:
    """phi_j(x) = sigma_1(v_j . x + s_j), fixed. sigma_1 = 1 + he_1 + ... + he_k, the paper's polynomial of degree k, or relu."""

    V: Tensor  # (m1, d), rows of norm 1/sqrt(2)
    s: Tensor  # (m1,), N(0, 1/2), so that v.x + s is N(0, 1)
    k: int = 2
    activation: str = "polynomial"

    def __call__(self, x: Tensor) -> Tensor:
        """(n, d) -> (n, m1), divided by m1 as in g_u = (1/m1) sum_j u_j phi_j."""
        t = x @ self.V.T + self.s
        phi = torch.relu(t) if self.activation == "relu" else 1 + sum(hermite(j, t) for j in range(1, self.k + 1))
        return phi / len(self.s)

    def combined(self, x: Tensor, U: Tensor, rows: int = 256) -> Tensor:
        """phi(x) U, ``rows`` points at a time: phi(x) whole is too large for the processor's caches. (n, d), (m1, r) -> (n, r)"""
        return torch.cat([self(part) @ U for part in x.split(rows)])

    def lams(self, ridges: Sequence[float], n: int) -> list[float]:
        """lam1 for which the minimiser is kernel ridge regression with the Gram matrix (1/m1) sum_j phi_j(x) phi_j(x') and these ridges added to it."""
        return [value / (n * len(self.s)) for value in ridges]


def draw_first_layer(rng: np.random.Generator, d: int, m1: int, device: str = "cpu", **kind) -> FirstLayer:
    """v_j uniform on the sphere of radius 1/sqrt(2). ``kind``: k, activation."""
    V, s = rng.standard_normal((m1, d)), rng.standard_normal(m1) / math.sqrt(2)
    V /= math.sqrt(2) * np.linalg.norm(V, axis=1, keepdims=True)
    return FirstLayer(torch.as_tensor(V, device=device), torch.as_tensor(s, device=device), **kind)


@dataclass(frozen=True)
class SecondLayer:
    """relu(a_i g + b_i), fixed: the features of the link, a function of the one number g_u(x)."""

    a: Tensor  # (m2,), -1 or 1
    b: Tensor  # (m2,), Student t with 3 degrees of freedom

    def __call__(self, g: Tensor) -> Tensor:
        """(n,) -> (n, m2)."""
        return torch.relu(g[:, None] * self.a + self.b)


def draw_second_layer(rng: np.random.Generator, m2: int, device: str = "cpu") -> SecondLayer:
    return SecondLayer(torch.as_tensor(rng.choice([1.0, -1.0], size=m2), device=device), torch.as_tensor(rng.standard_t(3, size=m2), device=device))


@dataclass(frozen=True)
class ThreeLayer:
    """h_theta(x) = g_u(x) + sum_i c_i relu(a_i g_u(x) + b_i): a bottleneck of width one and a skip connection; u and c are trained."""

    first: FirstLayer
    second: SecondLayer
    u: Tensor  # (m1,)
    c: Tensor  # (m2,)

    def g(self, x: Tensor) -> Tensor:
        return self.first.combined(x, self.u[:, None])[:, 0]

    def __call__(self, x: Tensor) -> Tensor:
        return self.of_feature(self.g(x))

    def of_feature(self, g: Tensor) -> Tensor:
        """The learned link: h_theta as a function of g_u."""
        return g + self.second(g) @ self.c


@dataclass(frozen=True)
class Labelled:
    """Points with their labels; nothing else of the target is seen in training."""

    x: Tensor  # (n, d)
    y: Tensor  # (n,)

    def __len__(self) -> int:
        return len(self.y)

    def halves(self) -> tuple[Labelled, Labelled]:
        """D1 and D2, the sets of the two stages."""
        half = len(self) // 2
        return Labelled(self.x[:half], self.y[:half]), Labelled(self.x[half:], self.y[half:])


@dataclass(frozen=True)
class Fitted:
    """What validation chose: a predictor (n, d) -> (n,), its ridge (added to a Gram matrix) and, with a second layer, its lam2."""

    predict: Callable[[Tensor], Tensor]
    ridge: float
    lam2: float = math.nan


def mse(prediction: Tensor, y: Tensor) -> float:
    return float(((prediction - y) ** 2).mean())


def fit_three_layer(first: FirstLayer, second: SecondLayer, train: Labelled, validation: Labelled, ridges: Sequence[float], lams2: Sequence[float]) -> Fitted:
    """Stage 1 fits u on the first half of the data, stage 2 fits c to what is left on the second half; validation chooses both penalties together."""
    D1, D2 = train.halves()
    us = ridge(first(D1.x), D1.y, first.lams(ridges, len(D1)))
    best, best_error = None, math.inf
    for r, u, g2, g_validation in zip(ridges, us, first.combined(D2.x, us.T).T, first.combined(validation.x, us.T).T, strict=True):
        features = second(g_validation)
        for lam2, c in zip(lams2, ridge(second(g2), D2.y - g2, lams2), strict=True):
            error = mse(g_validation + features @ c, validation.y)
            if error < best_error:
                best, best_error = Fitted(ThreeLayer(first, second, u, c), r, lam2), error
    return best
