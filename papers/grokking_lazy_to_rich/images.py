"""The same knob on real images: an MLP with large initial weights whose output is multiplied by a scale.

As in the Omnigrok-style experiment of the paper: ReLU, no biases, squared error on one-hot targets, AdamW. Symbols: H hidden width.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from shared.data import digits, mnist
from shared.seeds import numpy_rng

CLASSES = 10
HIDDEN_LAYERS = {"digits": 2, "mnist": 3}

Weights = list[Float[Array, "fan_in fan_out"]]


class Pictures(NamedTuple):
    """Flat train and test images with values in [0, 1], and the knobs of a run."""

    X: Float[Array, "train pixels"]
    labels: Int[Array, " train"]
    X_test: Float[Array, "test pixels"]
    labels_test: Int[Array, " test"]
    scale: Float[Array, ""]
    decay: Float[Array, ""]


def load(name: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """About 1000 train images in random order, and the test images. Digits have no official split: each seed has its own."""
    if name == "digits":
        images, largest = digits.load(test_share=797 / 1797, seed=seed), 16
    else:
        images, largest = mnist.load(train_per_class=100), 255
    order = numpy_rng(seed, "order").permutation(len(images.x_train))
    flat, flat_test = ((x.reshape(len(x), -1) / largest).astype(np.float32) for x in (images.x_train[order], images.x_test))
    return flat, images.y_train[order], flat_test, images.y_test


def initial_weights(seed: int, widths: tuple[int, ...], size: float) -> Weights:
    """W ~ N(0, 1) sqrt(2 / fan_in) size, from the input's width to the output's."""
    rng = numpy_rng(seed, "init")
    return [(rng.normal(size=(m, n)) * np.sqrt(2 / m) * size).astype(np.float32) for m, n in itertools.pairwise(widths)]


def network(weights: Weights, X: Float[Array, "n pixels"], scale: float) -> Float[Array, "n classes"]:
    """Pre-activations divided by sqrt(fan_in), the output by the width H, and multiplied by the scale."""
    *hidden, readout = weights
    for W in hidden:
        X = jax.nn.relu(X @ W / jnp.sqrt(len(W)))
    return scale * X @ readout / len(readout)


def loss(weights: Weights, X: Float[Array, "n pixels"], labels: Int[Array, " n"], scale: float) -> Float[Array, ""]:
    """Squared error, averaged over images and classes."""
    return ((network(weights, X, scale) - jax.nn.one_hot(labels, CLASSES)) ** 2).mean()


class State(NamedTuple):
    weights: Weights
    moments: optax.ScaleByAdamState


def initial_state(weights: Weights) -> State:
    return State(weights, jax.tree.map(np.asarray, optax.scale_by_adam().init(weights)))


@functools.cache
def training_step(lr: float, batch: int) -> Callable:
    """``step(state, t, pictures)``: AdamW on the next ``batch`` images in a fixed order, round and round."""

    def step(state: State, t: Int[Array, ""], pictures: Pictures) -> State:
        rows = (t * batch + jnp.arange(batch)) % len(pictures.X)
        gradient = jax.grad(loss)(state.weights, pictures.X[rows], pictures.labels[rows], pictures.scale)
        direction, moments = optax.scale_by_adam().update(gradient, state.moments)
        return State(jax.tree.map(lambda W, d: W - lr * (d + pictures.decay * W), state.weights, direction), moments)

    return step


def measure(state: State, pictures: Pictures) -> dict[str, Float[Array, ""]]:
    """Accuracies and losses on both parts, and the norm of all weights."""
    parts = {"train": (pictures.X, pictures.labels), "test": (pictures.X_test, pictures.labels_test)}
    measured = {"weight_norm": optax.tree.norm(state.weights)}
    for part, (X, labels) in parts.items():
        f = network(state.weights, X, pictures.scale)
        measured[f"{part}_accuracy"] = (f.argmax(axis=1) == labels).mean()
        measured[f"{part}_loss"] = ((f - jax.nn.one_hot(labels, CLASSES)) ** 2).mean()
    return measured
