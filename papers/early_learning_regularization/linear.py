"""The linear model of the theory (Section 3): two Gaussian clusters in high dimension, wrong labels, gradient descent on a linear softmax classifier.

Symbols: n points in R^p, v the unit vector between the clusters, eps* = +-1 the true and eps the observed labels, kappa the gradient's coefficients.
A score pair (theta . x, -theta . x) makes the classifier a softmax over two classes; its cross-entropy is log(1 + exp(-2 eps theta . x)).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from papers.early_learning_regularization.losses import Objective, loss, updated_targets


class Points(NamedTuple):
    """A data set of the linear model; ``wrong`` marks the observed labels that differ from the true ones."""

    x: Float[Array, "n p"]
    true: Float[Array, " n"]
    observed: Float[Array, " n"]
    v: Float[Array, " p"]

    @property
    def wrong(self) -> Bool[Array, " n"]:
        return self.true != self.observed


def draw_points(key: Array, n: int, p: int, sigma: float, delta: float) -> Points:
    """x_i = eps*_i (v - sigma z_i), z_i ~ N(0, I). With probability ``delta`` the observed label is a fresh fair coin, so about delta / 2 are wrong."""
    key_v, key_true, key_z, key_noisy, key_coin = jax.random.split(key, 5)
    v = jax.random.normal(key_v, (p,))
    v = v / jnp.linalg.norm(v)
    true, coin = jax.random.rademacher(key_true, (n,), float), jax.random.rademacher(key_coin, (n,), float)
    x = true[:, None] * (v - sigma * jax.random.normal(key_z, (n, p)))
    return Points(x, true, jnp.where(jax.random.bernoulli(key_noisy, delta, (n,)), coin, true), v)


def draw_start(key: Array, v: Float[Array, " p"], radius: float, largest: float) -> Float[Array, " p"]:
    """theta_0 uniform on the sphere of ``radius``, drawn again while |theta_0 . v| > ``largest`` (the theory's p is so large that it vanishes)."""

    def draw(key):
        theta = jax.random.normal(key, v.shape)
        return radius * theta / jnp.linalg.norm(theta)

    def again(carry):
        key, _ = jax.random.split(carry[0])
        return key, draw(key)

    return jax.lax.while_loop(lambda carry: jnp.abs(carry[1] @ v) > largest, again, (key, draw(key)))[1]


def coefficients(theta: Float[Array, " p"], points: Points) -> Float[Array, " n"]:
    """kappa_i = tanh(theta . x_i) - eps_i: how strongly point i pulls."""
    return jnp.tanh(points.x @ theta) - points.observed


def gradient(theta: Float[Array, " p"], points: Points) -> Float[Array, " p"]:
    """grad L = (1 / 2n) sum_i x_i kappa_i, of L = (1 / 2n) sum_i log(1 + exp(-2 eps_i theta . x_i))."""
    return points.x.T @ coefficients(theta, points) / (2 * len(points.x))


def scores(theta: Float[Array, " p"], x: Float[Array, "n p"]) -> Float[Array, "n 2"]:
    """Class scores: column 0 for label +1, column 1 for -1."""
    margin = x @ theta
    return jnp.stack([margin, -margin], axis=1)


def regularised_step(
    theta: Float[Array, " p"], targets: Float[Array, "n 2"], points: Points, rate: float, goal: Objective
) -> tuple[Float[Array, " p"], Float[Array, "n 2"]]:
    """One full-batch step of gradient descent on half the mean loss, so that "ce" is the step of ``gradient``."""
    targets = updated_targets(targets, scores(theta, points.x), goal.beta)
    labels = jnp.stack([points.observed > 0, points.observed < 0], axis=1).astype(float)
    slope = jax.grad(lambda theta: loss(goal.kind, scores(theta, points.x), labels, targets, goal.lam) / 2)(theta)
    return theta - rate * slope, targets


def agreement(theta: Float[Array, " p"], x: Float[Array, "n p"], labels: Float[Array, " n"], among: Bool[Array, " n"]) -> Float[Array, ""]:
    """Share of the points ``among`` whose prediction sign(theta . x) is the label."""
    return ((jnp.sign(x @ theta) == labels) & among).sum() / among.sum()


class Passage(NamedTuple):
    """State of a run that stops at T, the first step with theta . v >= ``reached``."""

    theta: Float[Array, " p"]
    step: Array
    alignment: Float[Array, ""]
    """Smallest -grad . v / ||grad|| so far."""


def run_until_aligned(theta_0: Float[Array, " p"], points: Points, rate: float, reached: float, most: int) -> Passage:
    """Gradient descent up to T (Theorem 1's early phase), or ``most`` steps."""

    def forward(state: Passage) -> Passage:
        slope = gradient(state.theta, points)
        alignment = jnp.minimum(state.alignment, -(slope @ points.v) / jnp.linalg.norm(slope))
        return Passage(state.theta - rate * slope, state.step + 1, alignment)

    start = Passage(theta_0, jnp.zeros((), int), jnp.ones(()))
    return jax.lax.while_loop(lambda state: (state.theta @ points.v < reached) & (state.step < most), forward, start)
