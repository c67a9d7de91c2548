"""Kernels of infinitely wide fully connected networks: NNGP and NTK, in float64, for NumPy arrays and torch tensors alike.

An activation phi with E[phi(z)^2] = 1, z ~ N(0, 1), acts on kernels through its dual phi^(rho) = E[phi(u) phi(v)], (u, v) standard normal with correlation rho
(Daniely, Frostig and Singer, 2016). For inputs on the unit sphere, layer by layer (Jacot, Gabriel and Hongler, 2018, without biases):

    S_0 = rho,  S_{l+1} = phi^(S_l)                                 NNGP
    K_0 = rho,  K_{l+1} = S_{l+1} + K_l phi^'(S_l)                  NTK

Deep kernels are decided by what happens next to rho = 1, where 1 - rho of two close points is below the last digit of rho, and next to 0, where they decay.
So ``Cosines`` carries rho and t = 1 - rho side by side, each with its own relative precision, and every dual has its ``complement``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.polynomial import polynomial
from numpy.polynomial.hermite_e import hermegauss, hermeval


def _namespace(x) -> ModuleType:
    """``torch`` for a tensor, else ``numpy``; both know the functions used here by the same names."""
    if type(x).__module__.startswith("torch"):
        import torch

        return torch
    return np


@dataclass(frozen=True)
class Dual:
    """A dual activation on [-1, 1], with phi^(1) = 1."""

    name: str
    value: Callable
    """rho -> phi^(rho)."""
    derivative: Callable
    """rho -> phi^'(rho), the dual of phi'."""
    complement: Callable
    """t -> 1 - phi^(1 - t) for t in [0, 1/2], to relative precision however small t is."""
    activation: Callable[[np.ndarray], np.ndarray]
    """z -> phi(z), NumPy."""
    derivative_near: Callable | None = None
    """t -> phi^'(1 - t) for t in [0, 1/2], where 1 - t alone would lose digits; None = the derivative at 1 - t is as good."""


def hermite(k: int, z: np.ndarray) -> np.ndarray:
    """he_k(z) = He_k(z) / sqrt(k!), orthonormal under N(0, 1)."""
    return hermeval(z, [0.0] * k + [1.0]) / math.sqrt(math.factorial(k))


def polynomial_dual(squares: tuple[float, ...], name: str = "polynomial") -> Dual:
    """phi = sum_k a_k he_k with a_k^2 = squares[k], which sum to 1: phi^(rho) = sum_k a_k^2 rho^k."""
    if min(squares) < 0 or abs(sum(squares) - 1) > 1e-12:
        raise ValueError(f"the squares of Hermite coefficients are non-negative and sum to 1, not {squares}")
    reflected = np.zeros(1)
    for c in reversed(squares):  # Horner in 1 - t
        reflected = polynomial.polyadd(polynomial.polymul(reflected, [1.0, -1.0]), [c])

    def horner(coefficients) -> Callable:
        def evaluate(x):
            total = 0.0 * x + float(coefficients[-1])
            for c in coefficients[-2::-1]:
                total = total * x + float(c)
            return total

        return evaluate

    return Dual(
        name,
        value=horner(squares),
        derivative=horner(polynomial.polyder(squares) if len(squares) > 1 else [0.0]),
        complement=horner([0.0, *-reflected[1:]]),
        activation=lambda z: sum(math.sqrt(c) * hermite(k, z) for k, c in enumerate(squares) if c),
    )


def power_dual(p: int) -> Dual:
    """phi = he_p: phi^(rho) = rho^p. L layers underflow at once: compare p^L log|rho| instead (``log_power_kernel``)."""
    return polynomial_dual((0.0,) * p + (1.0,), f"hermite_{p}")


def sine_dual(a: float) -> Dual:
    """phi(z) = sin(sqrt(a) z) exp(a / 2) / sqrt(sinh(a)): phi^(rho) = sinh(a rho) / sinh(a)."""
    scale = math.sinh(a)

    def complement(t):
        xp = _namespace(t)
        return 2 * xp.cosh(a - a * t / 2) * xp.sinh(a * t / 2) / scale

    return Dual(
        f"sine_{a:g}",
        value=lambda rho: _namespace(rho).sinh(a * rho) / scale,
        derivative=lambda rho: a * _namespace(rho).cosh(a * rho) / scale,
        complement=complement,
        activation=lambda z: np.sin(math.sqrt(a) * z) * math.exp(a / 2) / math.sqrt(scale),
    )


def erf_dual() -> Dual:
    """phi = erf, normalised: phi^(rho) = arcsin(2 rho / 3) / arcsin(2 / 3) (Williams, 1997)."""
    from scipy.special import erf

    total = math.asin(2 / 3)

    def complement(t):
        # arcsin a - arcsin b = arcsin((a^2 - b^2) / (a sqrt(1 - b^2) + b sqrt(1 - a^2))) has no difference of close numbers.
        xp, b = _namespace(t), 2 / 3 * (1 - t)
        return xp.arcsin(4 / 9 * t * (2 - t) / (2 / 3 * xp.sqrt(1 - b**2) + b * math.sqrt(5) / 3)) / total

    return Dual(
        "erf",
        value=lambda rho: _namespace(rho).arcsin(2 * rho / 3) / total,
        derivative=lambda rho: 2 / 3 / _namespace(rho).sqrt(1 - 4 / 9 * rho**2) / total,
        complement=complement,
        activation=lambda z: erf(z) / math.sqrt(2 / math.pi * total),
    )


def angle_of(t):
    """arccos(1 - t), to relative precision for small t."""
    xp = _namespace(t)
    return 2 * xp.arcsin(xp.sqrt(t / 2))


def relu_dual() -> Dual:
    """phi(z) = sqrt(2) max(z, 0): the arc-cosine kernel of degree 1 (Cho and Saul, 2009); phi^' is the one of degree 0."""

    def value(rho):
        xp = _namespace(rho)
        rho = xp.clip(rho, -1.0, 1.0)
        return (rho * (math.pi - xp.arccos(rho)) + xp.sqrt(1 - rho**2)) / math.pi

    def complement(t):
        xp, angle = _namespace(t), angle_of(t)
        square = angle**2
        series = -(square * angle) * (1 / 3 - square * (1 / 30 - square * (1 / 840 - square / 45360)))
        return t + xp.where(angle < 0.1, series, angle * xp.cos(angle) - xp.sin(angle)) / math.pi

    return Dual(
        "relu",
        value=value,
        derivative=lambda rho: 1 - _namespace(rho).arccos(_namespace(rho).clip(rho, -1.0, 1.0)) / math.pi,
        complement=complement,
        activation=lambda z: math.sqrt(2) * np.maximum(z, 0),
        derivative_near=lambda t: 1 - angle_of(t) / math.pi,
    )


def dual_by_quadrature(activation: Callable[[np.ndarray], np.ndarray], rho: float, nodes: int = 100) -> float:
    """E[phi(u) phi(v)] at correlation ``rho`` by Gauss-Hermite quadrature in two dimensions: exact for polynomials of degree < ``nodes``, slow, for checks."""
    z, weight = hermegauss(nodes)
    weight = weight / weight.sum()
    u, v = z[:, None], rho * z[:, None] + math.sqrt(1 - rho**2) * z[None, :]
    return float(weight @ (activation(u) * activation(v)) @ weight)


class Cosines(NamedTuple):
    """Cosines of angles between unit vectors, and what they lack to 1."""

    rho: np.ndarray
    t: np.ndarray
    """1 - rho, to relative precision where it is small."""


def cosines(X, Y) -> Cosines:
    """Between the rows of X (n, d) and Y (m, d), all of norm 1: (n, m) each. 1 - rho is half the squared distance, summed from differences of coordinates."""
    t = sum((X[:, None, k] - Y[None, :, k]) ** 2 for k in range(X.shape[1])) / 2
    return Cosines(X @ Y.T, t)


def _layer(s: Cosines, dual: Dual) -> Cosines:
    xp = _namespace(s.t)
    close = s.t < 0.5
    rho = dual.value(s.rho)
    t = xp.where(close, dual.complement(xp.where(close, s.t, 0.0 * s.t)), 1 - rho)
    return Cosines(xp.where(close, 1 - t, rho), t)


def nngp(s: Cosines, dual: Dual, depth: int) -> Cosines:
    """S_depth, as rho and 1 - rho."""
    for _ in range(depth):
        s = _layer(s, dual)
    return s


def ntk(s: Cosines, dual: Dual, depth: int) -> np.ndarray:
    """K_depth, of the shape of ``s.rho``. It grows like phi^'(1)^depth next to the diagonal where phi^'(1) > 1."""
    near = dual.derivative_near or (lambda t: dual.derivative(1 - t))
    xp, close = _namespace(s.t), s.t < 0.5
    K = xp.where(close, 1 - s.t, s.rho)
    for _ in range(depth):
        close = s.t < 0.5
        slope = xp.where(close, near(xp.where(close, s.t, 0.0 * s.t)), dual.derivative(s.rho))
        s = _layer(s, dual)
        K = s.rho + K * slope
    return K


def log_power_kernel(s: Cosines, p: int, depth: int):
    """log |S_depth| = p^depth log|rho| for phi = he_p, where S_depth itself underflows; -inf at rho = 0. The sign is that of rho^p."""
    xp = _namespace(s.t)
    close = s.t < 0.5
    small = xp.log1p(-xp.where(close, s.t, 0.0 * s.t))
    return float(p) ** depth * xp.where(close, small, xp.log(xp.abs(xp.where(close, 1.0 + 0.0 * s.rho, s.rho))))


def relu_network_kernel(X: np.ndarray, Y: np.ndarray, depth: int = 1, kind: str = "ntk") -> np.ndarray:
    """NTK or NNGP (``kind``) of a bias-free ReLU network with ``depth`` hidden layers, rows of any norm: |x| |x'| times the kernel of directions."""
    if kind not in ("ntk", "nngp"):
        raise ValueError(f"kind is 'ntk' or 'nngp', not {kind!r}")
    x, y = (np.linalg.norm(A, axis=1, keepdims=True) for A in (X, Y))
    rho = np.clip((X / x) @ (Y / y).T, -1.0, 1.0)
    s = Cosines(rho, 1 - rho)
    return x * y.T * (ntk(s, relu_dual(), depth) if kind == "ntk" else nngp(s, relu_dual(), depth).rho)


def gram(kernel: Callable, X, Y, rows: int = 256):
    """kernel(X, Y), (n, m), filled ``rows`` rows at a time, so that a kernel's intermediates never take more than ``rows`` times m numbers each."""
    out = X.new_empty(len(X), len(Y)) if hasattr(X, "new_empty") else np.empty((len(X), len(Y)))
    for start in range(0, len(X), rows):
        out[start : start + rows] = kernel(X[start : start + rows], Y)
    return out
