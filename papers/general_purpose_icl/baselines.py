"""What a classical learner makes of the same sequences: it is given the T - 1 labelled examples and answers for the last one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from papers.general_purpose_icl.model import Sequence


def nearest_neighbour(sequence: Sequence, _: float, C: int) -> Int[Array, ""]:
    """The label of the context's example nearest to the query."""
    distance = jnp.square(sequence.x[:-1] - sequence.x[-1]).sum(axis=-1)
    return sequence.y[distance.argmin()]


def ridge(sequence: Sequence, lam: float, C: int) -> Int[Array, ""]:
    """argmax of ridge regression on one-hot labels with an intercept: Y^T (X X^T + lam I)^-1 X x + mean(Y), X and Y centred."""
    x, Y = sequence.x[:-1], jax.nn.one_hot(sequence.y[:-1], C)
    mean = x.mean(axis=0)
    X = x - mean
    dual = jnp.linalg.solve(X @ X.T + lam * jnp.eye(len(X)), Y - Y.mean(axis=0))
    return (dual.T @ X @ (sequence.x[-1] - mean) + Y.mean(axis=0)).argmax()


def online_sgd(sequence: Sequence, lr: float, C: int) -> Int[Array, ""]:
    """Softmax regression from zero weights, one gradient step for each example of the context in turn: what the paper calls SGD."""

    def gradient_step(weights: tuple[Float[Array, "C d"], Float[Array, " C"]], example: tuple[Array, Array]):
        (W, b), (x, y) = weights, example
        error = jax.nn.one_hot(y, C) - jax.nn.softmax(W @ x + b)
        return (W + lr * jnp.outer(error, x), b + lr * error), None

    zeros = (jnp.zeros((C, sequence.x.shape[-1])), jnp.zeros(C))
    (W, b), _ = jax.lax.scan(gradient_step, zeros, (sequence.x[:-1], sequence.y[:-1]))
    return (W @ sequence.x[-1] + b).argmax()


BASELINES = {
    "nearest neighbour": (nearest_neighbour, (0.0,)),
    "ridge regression": (ridge, (0.1, 1.0, 10.0, 100.0)),
    "online SGD": (online_sgd, (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)),
}
"""Each with the strengths that it may choose from (lam, step size)."""


def accuracy(method: str, strength: Float[Array, ""] | float, sequences: Sequence, C: int) -> Float[Array, ""]:
    """Share of the last positions of ``sequences`` (batch, T, ...) answered rightly."""
    learn, _ = BASELINES[method]
    return (jax.vmap(lambda sequence: learn(sequence, strength, C))(sequences) == sequences.y[:, -1]).mean()
