"""Sampling a posterior by stochastic gradients with Langevin noise, its noiseless relatives, and the one posterior known in closed form.

Parameters are one flat vector theta ~ N(0, I). Networks get inputs scaled to a mean square of about 1 / features, so that this prior is the usual 1 / fan-in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Model:
    """P_theta(y | x): linear regression with known noise, logistic regression, or a network with one hidden layer of tanh units and a logistic output."""

    kind: str
    features: int
    hidden: int = 0
    noise_variance: float = 1.0

    @property
    def parameters(self) -> int:
        return self.features if self.kind != "network" else self.hidden * (self.features + 2) + 1

    def output(self, theta: Float[Array, " p"], x: Float[Array, "n features"]) -> Float[Array, " n"]:
        """The mean of y, or its log-odds."""
        if self.kind != "network":
            return x @ theta
        W, b, v, c = jnp.split(theta, np.cumsum([self.hidden * self.features, self.hidden, self.hidden]))
        return jnp.tanh(x @ W.reshape(self.features, self.hidden) + b) @ v + c[0]

    def log_density(self, output: Float[Array, " ..."], y: Float[Array, " ..."]) -> Float[Array, " ..."]:
        """ln P(y | output); a label y in [0, 1] may be soft."""
        if self.kind == "linear":
            return -0.5 * (y - output) ** 2 / self.noise_variance - 0.5 * jnp.log(2 * jnp.pi * self.noise_variance)
        return y * output - jnp.logaddexp(0.0, output)


class Data(NamedTuple):
    """What a run is given: n examples and a key for its batches and its noise."""

    x: Float[Array, "n features"]
    y: Float[Array, " n"]
    key: Array


def log_prior(theta: Float[Array, " p"]) -> Float[Array, ""]:
    """ln N(theta; 0, I) but for a constant."""
    return -0.5 * (theta**2).sum()


def log_posterior(model: Model, theta: Float[Array, " p"], x, y) -> Float[Array, ""]:
    """ln P(theta | y) but for a constant."""
    return log_prior(theta) + model.log_density(model.output(theta, x), y).sum()


@functools.cache
def langevin_step(model: Model, eps: float, batch: int, temperature: float = 1.0, prior: float = 1.0) -> Callable:
    """One step for ``train_many``: theta += eps/2 (grad ln prior + (n/b) sum over the batch of grad ln P(y | x)) + sqrt(eps temperature) N(0, I).

    Temperature 0 is gradient ascent on the posterior (MAP) or, with ``prior`` 0, on the likelihood. A batch is drawn with replacement unless it is everything.
    """

    def step(theta: Float[Array, " p"], t: Array, data: Data) -> Float[Array, " p"]:
        n = len(data.y)
        key_batch, key_noise = jax.random.split(jax.random.fold_in(data.key, t))
        x, y = data.x, data.y
        if batch < n:
            chosen = jax.random.randint(key_batch, (batch,), 0, n)
            x, y = x[chosen], y[chosen]
        drift = jax.grad(lambda theta: prior * log_prior(theta) + n / batch * model.log_density(model.output(theta, x), y).sum())(theta)
        noise = jax.random.normal(key_noise, theta.shape) if temperature else 0.0
        return theta + eps / 2 * drift + (eps * temperature) ** 0.5 * noise

    return step


def position(theta: Float[Array, " p"], data: Data) -> Float[Array, " p"]:
    """What is measured on the way: the parameters themselves."""
    return theta


@functools.cache
def distillation(model: Model, steps: int, batch: int, lr: float) -> tuple[optax.GradientTransformation, Callable]:
    """Adam on the cross-entropy to soft labels, mini-batches of ``batch``, cosine decay: the optimiser and a step for ``train_many``."""
    adam = optax.adam(optax.cosine_decay_schedule(lr, steps))

    def step(state, t, data: Data):
        theta, moments = state
        chosen = jax.random.randint(jax.random.fold_in(data.key, t), (batch,), 0, len(data.y))
        gradient = jax.grad(lambda theta: -model.log_density(model.output(theta, data.x[chosen]), data.y[chosen]).mean())(theta)
        updates, moments = adam.update(gradient, moments)
        return optax.apply_updates(theta, updates), moments

    return adam, step


# ---- predictions ----


def mixture_log_loss(log_densities: Float[np.ndarray, "draws n"]) -> float:
    """Loss of the averaged prediction, -mean over examples of ln mean over draws of P(y | x)."""
    return float(-(np.logaddexp.reduce(log_densities, axis=0) - np.log(len(log_densities))).mean())


# ---- the conjugate case ----


class LinearPosterior(NamedTuple):
    """The posterior N(mean, precision^-1) of linear regression under theta ~ N(0, I)."""

    mean: Float[np.ndarray, " p"]
    precision: Float[np.ndarray, "p p"]

    def log_density(self, x: Float[np.ndarray, "n p"], y: Float[np.ndarray, " n"], noise_variance: float) -> Float[np.ndarray, " n"]:
        """ln Q(y | x) of the exact mixture: N(x . mean, noise + x^T precision^-1 x)."""
        variance = noise_variance + (x * np.linalg.solve(self.precision, x.T).T).sum(axis=1)
        return -0.5 * (y - x @ self.mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)


def linear_posterior(x: Float[np.ndarray, "n p"], y: Float[np.ndarray, " n"], noise_variance: float) -> LinearPosterior:
    """precision = I + X^T X / s^2, mean = precision^-1 X^T y / s^2."""
    precision = np.eye(x.shape[1]) + x.T @ x / noise_variance
    return LinearPosterior(np.linalg.solve(precision, x.T @ y / noise_variance), precision)


def step_size_variance(h: Float[np.ndarray, " p"], eps: float) -> Float[np.ndarray, " p"]:
    """What a full-batch chain's variance along a direction of curvature h settles at, relative to 1 / h: 1 / (1 - eps h / 4), from
    v = (1 - eps h / 2)^2 v + eps."""
    return 1 / (1 - eps * h / 4)
