"""The small network of the digits experiment and its stochastic gradient descent with momentum; one run, to be mapped over seeds.

Shapes: n training images of 64 pixels, C = 10 classes.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from papers.early_learning_regularization.losses import Objective, loss, updated_targets

Weights = list[tuple[Array, Array]]


class Examples(NamedTuple):
    """Training images with their noisy (given) and true labels, clean test images, and the key of the batch order."""

    x: Float[Array, "n 64"]
    given: Int[Array, " n"]
    true: Int[Array, " n"]
    x_test: Float[Array, "test 64"]
    y_test: Int[Array, " test"]
    key: Array


class Run(NamedTuple):
    """Weights, their momentum, and the running average of the outputs for every training example."""

    weights: Weights
    momentum: Weights
    targets: Float[Array, "n C"]


def init(key: Array, sizes: tuple[int, ...], n: int) -> Run:
    """He-normal weights, zero biases, zero momentum, zero targets."""
    keys = jax.random.split(key, len(sizes) - 1)
    weights = [(jax.random.normal(k, (a, b)) * jnp.sqrt(2 / a), jnp.zeros(b)) for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)]
    return Run(weights, jax.tree.map(jnp.zeros_like, weights), jnp.zeros((n, sizes[-1])))


def forward(weights: Weights, x: Float[Array, "B 64"]) -> Float[Array, "B C"]:
    """Class scores of a multilayer perceptron with ReLU."""
    for W, b in weights[:-1]:
        x = jax.nn.relu(x @ W + b)
    W, b = weights[-1]
    return x @ W + b


def batch_rows(key: Array, t: Array, n: int, size: int) -> Int[Array, " size"]:
    """Rows of step t: every epoch is a fresh shuffle cut into batches, the last incomplete one dropped (43 of 1259 rows wait for the next epoch)."""
    per_epoch = n // size
    order = jax.random.permutation(jax.random.fold_in(key, t // per_epoch), n)
    return jax.lax.dynamic_slice(order, ((t % per_epoch) * size,), (size,))


def step(run: Run, t: Array, data: Examples, goal: Objective, *, size: int, rate: Array | float, momentum: float) -> Run:
    """One step of SGD: update the targets of the batch with the present outputs, then descend on the loss that holds them constant."""
    rows = batch_rows(data.key, t, len(data.x), size)
    labels = jax.nn.one_hot(data.given[rows], run.targets.shape[1])

    def batch_loss(weights):
        out = forward(weights, data.x[rows])
        targets = updated_targets(run.targets[rows], out, goal.beta)
        return loss(goal.kind, out, labels, targets, goal.lam), targets

    slope, targets = jax.grad(batch_loss, has_aux=True)(run.weights)
    velocity = jax.tree.map(lambda m, g: momentum * m + g, run.momentum, slope)
    weights = jax.tree.map(lambda w, m: w - rate * m, run.weights, velocity)
    return Run(weights, velocity, run.targets.at[rows].set(targets))


def measure(run: Run, data: Examples) -> dict[str, Array]:
    """Shares over the training set, split into rightly and wrongly labelled examples, and the clean test accuracy."""
    answer = forward(run.weights, data.x).argmax(-1)
    wrong = data.given != data.true

    def share(hit, among):
        return (hit & among).sum() / among.sum()

    return {
        "right_correct": share(answer == data.true, ~wrong),
        "wrong_correct": share(answer == data.true, wrong),
        "wrong_memorised": share(answer == data.given, wrong),
        "test_accuracy": (forward(run.weights, data.x_test).argmax(-1) == data.y_test).mean(),
        "target_accuracy": (run.targets.argmax(-1) == data.true).mean(),
    }
