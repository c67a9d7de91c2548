"""Closed forms of the paper: the approximate loss of a layer in the learnt form, its minimisers, its gradient flow, and the best one-step predictors.

omega and mu are vectors over the heads: KQ_h = omega_h I on the covariates, OV_h = mu_h on the label; see ``model.in_learnt_form``.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def moments(omega: Float[Array, " H"], d: int, L: int, s2: float) -> Float[Array, "H H"]:
    """omega omega^T + ((1 + s2)/L) exp(d omega omega^T), exp entrywise: the second moments of the heads' outputs, approximately."""
    outer = jnp.outer(omega, omega)
    return outer + (1 + s2) / L * jnp.exp(d * outer)


def approximate_loss(omega: Float[Array, " H"], mu: Float[Array, " H"], d: int, L: int, s2: float) -> Float[Array, ""]:
    """L~(omega, mu) = 1 + s2 - 2 mu.omega + mu^T moments(omega) mu."""
    return 1 + s2 - 2 * mu @ omega + mu @ moments(omega, d, L, s2) @ mu


def best_mu(omega: Float[Array, " H"], d: int, L: int, s2: float) -> Float[Array, " H"]:
    """mu*(omega) = moments(omega)^{-1} omega, the minimiser of L~ for given omega."""
    return jnp.linalg.solve(moments(omega, d, L, s2), omega)


def one_head_minimiser(d: int, L: int, s2: float) -> tuple[float, float, float]:
    """omega, mu and L~ of the best single head, a kernel smoother."""
    c = 1 + np.e * (1 + s2) * d / L
    return d**-0.5, d**0.5 / c, 1 + s2 - 1 / c


def many_heads_infimum(d: int, L: int, s2: float) -> float:
    """The infimum of L~ with two heads or more: approached along (omega, -omega; mu, -mu) as omega -> 0 with 2 omega mu fixed."""
    return 1 + s2 - 1 / (1 + (1 + s2) * d / L)


def best_gd_step(Sigma: Float[np.ndarray, "d d"], L: int, s2: float) -> Float[np.ndarray, "d d"]:
    """Gamma of the predictor (1/L) sum_l y_l x_l^T Gamma x_q of least risk, beta ~ N(0, I/d).

    E[S^2] = (1 + 1/L) Sigma^2 + tr(Sigma) Sigma/L for the sample covariance S, so Gamma = ((1 + 1/L) Sigma + (tr(Sigma) + d s2)/L I)^{-1}.
    """
    d = len(Sigma)
    return np.linalg.inv((1 + 1 / L) * Sigma + (np.trace(Sigma) + d * s2) / L * np.eye(d))


def best_gd_risk(d: int, L: int, s2: float) -> float:
    """Exact risk of the best plain step, isotropic covariates."""
    return 1 + s2 - 1 / (1 + (d + 1 + s2 * d) / L)


@functools.cache
def flow_step(d: int, L: int, s2: float, dt: float):
    """``step((omega, mu), t, _)``: the gradient flow d(omega, mu)/dt = -grad L~ moved forward by dt (Runge-Kutta of order 4)."""

    def velocity(point):
        return jax.tree.map(jnp.negative, jax.grad(lambda p: approximate_loss(*p, d, L, s2))(point))

    def move(point, direction, length):
        return jax.tree.map(lambda p, v: p + length * v, point, direction)

    def step(point, t, _):
        k1 = velocity(point)
        k2 = velocity(move(point, k1, dt / 2))
        k3 = velocity(move(point, k2, dt / 2))
        k4 = velocity(move(point, k3, dt))
        return jax.tree.map(lambda p, a, b, c, e: p + dt / 6 * (a + 2 * b + 2 * c + e), point, k1, k2, k3, k4)

    return step
