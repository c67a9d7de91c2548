"""Finite width: the networks themselves, trained by full-batch gradient descent on the k basis vectors; one compiled program trains every seed's ensemble.

The training inputs are the identity matrix, so a first layer stored as (k, m) is at the same time the pre-activations of the training set: a step costs
three products of size k x k x m, and the whole training is a few dozen steps of half the inverse curvature.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from papers.exact_permutations.model import top_curvature

Params = dict[str, Array]

MAX_STEPS = 20_000
dot = partial(jnp.matmul, precision="highest")  # float32 throughout: TF32 on a GPU would blur mu0


def init(key: PRNGKeyArray, k: int, m: int, regime: str) -> Params:
    """Weights at the start; the biases of the standard regime start at 0 and are trained, the ntk regime has none."""
    key1, key2 = jax.random.split(key)
    W1, W2 = jax.random.normal(key1, (k, m)), jax.random.normal(key2, (m, k))
    if regime == "ntk":
        return {"W1": W1, "W2": W2}
    return {"W1": W1 / jnp.sqrt(k), "W2": W2 / jnp.sqrt(m), "b1": jnp.zeros(m), "b2": jnp.zeros(k)}


def outputs(params: Params, z: Float[Array, "B m"], regime: str) -> Float[Array, "B k"]:
    """f from z = x W1, the rows of the batch seen through the first layer's weights."""
    k, m = params["W1"].shape
    if regime == "ntk":
        return dot(jax.nn.relu(z / jnp.sqrt(k)), params["W2"]) / jnp.sqrt(m)
    return dot(jax.nn.relu(z + params["b1"]), params["W2"]) + params["b2"]


def predict(params: Params, x: Float[Array, "B k"], regime: str) -> Float[Array, "B k"]:
    """f on any inputs."""
    return outputs(params, dot(x, params["W1"]), regime)


def train(start: Params, P: Float[Array, "k k"], regime: str, tolerance: float) -> tuple[Params, Float[Array, ""], Int[Array, ""]]:
    """Gradient descent from ``start`` on half the squared error over the basis, until the mean squared error is below ``tolerance``.

    Returns the parameters, their mean squared error and the number of steps. The step size is half the inverse of the top curvature, a quarter of the
    limit of stability. The official loss is the mean over samples and outputs: its rate 1e-3 is our step of 2e-3 / k^2.
    """
    k, m = start["W1"].shape
    target = P.T  # row i is P e_i
    rate = 0.5 / top_curvature(k, regime, m)

    def loss(params):
        return 0.5 * jnp.sum((outputs(params, params["W1"], regime) - target) ** 2)  # x = I, so z = W1

    def unfinished(state):
        _, error, step = state
        return (error > tolerance) & (step < MAX_STEPS)

    def descend(state):
        params, _, step = state
        half_squares, gradient = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda w, g: w - rate * g, params, gradient), 2 * half_squares / k**2, step + 1

    return jax.lax.while_loop(unfinished, descend, (start, jnp.inf, 0))


@partial(jax.jit, static_argnames=("m", "regime", "N", "tolerance", "at_once"))
def ensembles(
    keys: PRNGKeyArray, P: Float[Array, "seeds k k"], x: Float[Array, "U k"], *, m: int, regime: str, N: int, tolerance: float, at_once: int
) -> tuple[Float[Array, "seeds N U k"], Float[Array, "seeds N"], Int[Array, "seeds N"]]:
    """Predictions, training errors and steps of N networks for every seed, all in one program that trains ``at_once`` networks together."""

    def member(key_and_P):
        key, permutation = key_and_P
        params, error, steps = train(init(key, k, m, regime), permutation, regime, tolerance)
        return predict(params, x, regime), error, steps

    seeds, k = P.shape[:2]
    every_key = jax.vmap(lambda key: jax.random.split(key, N))(keys).reshape(seeds * N)
    every_P = jnp.repeat(P, N, axis=0)
    trained = jax.lax.map(member, (every_key, every_P), batch_size=at_once)
    return jax.tree.map(lambda leaf: leaf.reshape(seeds, N, *leaf.shape[1:]), trained)
