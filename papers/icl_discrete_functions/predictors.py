"""What the networks are held against: simple predictors, a network fitted to each prompt, and the learner that is optimal for conjunctions.

Each gives a score for every point x_k from the examples before it; the prediction is the score's sign. Shapes: B prompts, m points, n bits.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from papers.icl_discrete_functions.tasks import distances


def accuracy(scores: Float[Array, "B m"], y: Float[Array, "B m"]) -> Float[Array, " m"]:
    """Share of right signs at each position. A score of 0 is a coin toss, right half the time."""
    return (1 + jnp.sign(scores) * y).mean(0) / 2


def null_accuracy(y: Float[Array, "B m"]) -> Float[Array, " m"]:
    """The constant prediction, whichever is right more often over all prompts."""
    return jnp.where(y.mean() > 0, accuracy(jnp.ones_like(y), y), accuracy(-jnp.ones_like(y), y))


def averaging(x: Float[Array, "B m n"], y: Float[Array, "B m"]) -> Float[Array, "B m"]:
    """(sum_{i<k} y_i x_i) . x_k."""
    return (jnp.tril(x @ x.swapaxes(-1, -2), k=-1) * y[:, None]).sum(-1)


def nearest_neighbours(x: Float[Array, "B m n"], y: Float[Array, "B m"], k: int) -> Float[Array, "B m"]:
    """Sum of the labels of the k nearest earlier points, the first of equals; of all of them where there are fewer."""
    nearness, index = jax.lax.top_k(-distances(x), k)  # (B, m, k)
    labels = jax.vmap(lambda y, index: y[index])(y, index)
    return (labels * jnp.isfinite(nearness)).sum(-1)


def consistent_conjunction(x: Float[Array, "B m n"], y: Float[Array, "B m"], monotone: bool = False) -> Float[Array, "B m"]:
    """+1 iff x_k satisfies every literal that holds at all positive points so far; -1 before the first of them. The optimal learner of the paper.

    Its hypothesis contains all literals of the true one: a positive prediction is never wrong. ``monotone``: literals without negations only.
    """
    literals = x > 0 if monotone else jnp.concatenate([x > 0, x < 0], axis=-1)  # (B, m, n or 2n): which hold at each point
    broken = jnp.cumsum((y[..., None] > 0) & ~literals, axis=1) - ((y[..., None] > 0) & ~literals)  # by positives before k
    satisfied = (literals | (broken > 0)).all(-1)
    seen = jnp.cumsum(y > 0, axis=1) - (y > 0) > 0
    return jnp.where(satisfied & seen, 1.0, -1.0)


def fitted_network(
    key: PRNGKeyArray, x: Float[Array, "B m n"], y: Float[Array, "B m"], examples: Int[Array, ""], width: int, steps: int, lr: float
) -> Float[Array, " B"]:
    """A ReLU network with two hidden layers fitted by Adam to the first ``examples`` of each prompt; its logit at the next point."""
    m, n = x.shape[-2:]
    known = jnp.arange(m) < examples  # a mask: one program for all numbers of examples

    def forward(params: list, x: Float[Array, "... n"]) -> Float[Array, " ..."]:
        for W, b in params[:-1]:
            x = jax.nn.relu(x @ W + b)
        W, b = params[-1]
        return (x @ W + b)[..., 0]

    def fit(key: PRNGKeyArray, x: Float[Array, "m n"], y: Float[Array, " m"]) -> Float[Array, ""]:
        sizes = [(n, width), (width, width), (width, 1)]
        keys = jax.random.split(key, len(sizes))
        params = [(jax.random.normal(k, size) * (2 / size[0]) ** 0.5, jnp.zeros(size[1])) for k, size in zip(keys, sizes, strict=True)]
        adam = optax.adam(lr)

        def step(state: tuple, _: None) -> tuple[tuple, None]:
            params, moments = state
            grad = jax.grad(lambda params: (jax.nn.softplus(-y * forward(params, x)) * known).sum() / examples)(params)
            updates, moments = adam.update(grad, moments)
            return (optax.apply_updates(params, updates), moments), None

        (params, _), _ = jax.lax.scan(step, (params, adam.init(params)), None, length=steps)
        return forward(params, x[examples])

    return jax.vmap(fit)(jax.random.split(key, len(x)), x, y)
