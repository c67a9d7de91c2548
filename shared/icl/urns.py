"""Balls and urns: sequences of independent draws from an unknown categorical distribution, and how a Bayesian predicts the next draw.

    urns = draw_urns(key, n=64, V=8)                         # the tasks, each theta ~ Dirichlet(1, ..., 1)
    ids = draw_sequences(key, urns, batch=32, length=128)    # each row from one urn, chosen evenly
    n = counts_before(ids, V=8)                              # (32, 129, 8): what has been seen before each draw, and after the last
    generalising = dirichlet_mean(n)                         # knows that urns come from the Dirichlet
    memorising = mixture_mean(n, urns)                       # knows the urns themselves

With V = 2 this is coin tossing, theta ~ Beta(1, 1), and ``dirichlet_mean`` is Laplace's rule. All functions are pure and map over seeds; in float64 where
their arguments are.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


def draw_urns(key: PRNGKeyArray, n: int, V: int, alpha: float = 1.0) -> Float[Array, "n V"]:
    """Distributions over V symbols, theta ~ Dirichlet(alpha, ..., alpha)."""
    return jax.random.dirichlet(key, jnp.full(V, alpha), (n,))


def draw_sequences(key: PRNGKeyArray, urns: Float[Array, "n V"], batch: int, length: int) -> Int[Array, "batch length"]:
    """Rows of independent draws, each row from an urn chosen evenly with replacement."""
    key_urn, key_ball = jax.random.split(key)
    chosen = urns[jax.random.randint(key_urn, (batch,), 0, len(urns))]
    ends = jnp.cumsum(chosen, axis=-1)[:, None, :-1]  # the last end is 1
    uniform = jax.random.uniform(key_ball, (batch, length, 1), chosen.dtype)
    return (uniform > ends).sum(-1)


def counts_before(ids: Int[Array, "... length"], V: int) -> Int[Array, "... length+1 V"]:
    """n_v at each prefix length 0 .. length: how often each symbol is among the first 0, 1, ... draws."""
    seen = jnp.cumsum(jax.nn.one_hot(ids, V, dtype=jnp.int32), axis=-2)
    return jnp.concatenate([jnp.zeros_like(seen[..., :1, :]), seen], axis=-2)


def dirichlet_mean(counts: Int[Array, "... V"], alpha: float = 1.0) -> Float[Array, "... V"]:
    """(n_v + alpha) / (t + alpha V), t = sum of the counts: the predictive distribution when theta ~ Dirichlet(alpha, ..., alpha)."""
    return (counts + alpha) / (counts.sum(-1, keepdims=True) + alpha * counts.shape[-1])


def urn_posterior(counts: Int[Array, "... V"], urns: Float[Array, "n V"]) -> Float[Array, "... n"]:
    """P(urn | draws), proportional to prod_v theta_v^(n_v), for urns that are equally likely beforehand. A symbol that an urn lacks rules the urn out."""
    return jax.nn.softmax(jax.scipy.special.xlogy(counts[..., None, :], urns).sum(-1), axis=-1)


def mixture_mean(counts: Int[Array, "... V"], urns: Float[Array, "n V"]) -> Float[Array, "... V"]:
    """sum_k P(urn k | draws) theta_k: the predictive distribution of one who knows all urns and not which one is drawn from."""
    return urn_posterior(counts, urns) @ urns
