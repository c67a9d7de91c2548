"""Reading a substitution cipher: a probe on the frozen model's hidden states, and two classical ways that use no network.

A prompt of T symbols is written in an unknown cipher. Asked is, for the cipher symbols that stand in it, the true sign. All three answer with a table
``guess[cipher symbol]`` or with the guess for one queried symbol; accuracy counts a symbol as often as it occurs.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy.special import gammaln

# ---- the probe ----


class Queries(NamedTuple):
    """What the probe is shown and asked, N queries."""

    h: Float[Array, "N d"]  # hidden state of the model
    e: Float[Array, "N d"]  # embedding of the queried cipher symbol, a random vector
    label: Int[Array, " N"]  # its true letter, 0 .. 25


def init_probe(key: PRNGKeyArray, d: int, hidden: int, classes: int) -> dict:
    """Four matrices, entries N(0, 1 / fan in)."""
    keys = jax.random.split(key, 4)
    shapes = {"W_h": (d, hidden), "W_e": (d, hidden), "W_he": (d, hidden), "W_out": (hidden, classes)}
    return {name: jax.random.normal(k, shape) / shape[0] ** 0.5 for k, (name, shape) in zip(keys, shapes.items(), strict=True)}


def probe_logits(probe: dict, h: Float[Array, "N d"], e: Float[Array, "N d"]) -> Float[Array, "N classes"]:
    """A two-layer network on the state, the queried symbol's vector and their product by coordinates, whose sum h . e is what the state holds of the symbol."""
    return jax.nn.gelu(h @ probe["W_h"] + e @ probe["W_e"] + (h * e) @ probe["W_he"]) @ probe["W_out"]


@functools.partial(jax.jit, static_argnames=("hidden", "classes", "steps", "batch"))
def train_probe(key: PRNGKeyArray, queries: Queries, hidden: int, classes: int, steps: int, batch: int, lr: float) -> dict:
    """Adam with cosine decay on minibatches of queries; the language model is frozen."""
    optimiser = optax.adam(optax.cosine_decay_schedule(lr, steps))
    probe = init_probe(jax.random.fold_in(key, 0), queries.h.shape[1], hidden, classes)

    def loss(probe: dict, some: Queries) -> Float[Array, ""]:
        scores = probe_logits(probe, some.h, some.e)
        return optax.softmax_cross_entropy_with_integer_labels(scores, some.label).mean()

    def step(state, key):
        probe, adam = state
        rows = jax.random.randint(key, (batch,), 0, len(queries.label))
        updates, adam = optimiser.update(jax.grad(loss)(probe, jax.tree.map(lambda x: x[rows], queries)), adam)
        return (optax.apply_updates(probe, updates), adam), None

    (probe, _), _ = jax.lax.scan(step, (probe, optimiser.init(probe)), jax.random.split(jax.random.fold_in(key, 1), steps))
    return probe


def probe_accuracy(probe: dict, queries: Queries) -> Float[Array, ""]:
    return (probe_logits(probe, queries.h, queries.e).argmax(axis=-1) == queries.label).mean()


# ---- without a network ----


def symbol_counts(secret: Int[np.ndarray, "n T"], V: int) -> Int[np.ndarray, "n V"]:
    return (secret[:, :, None] == np.arange(V)).sum(axis=1)


def frequency_matching(secret: Int[np.ndarray, "n T"], frequencies: Float[np.ndarray, " V"]) -> Int[np.ndarray, "n V"]:
    """The r-th most frequent symbol of the prompt is taken for the r-th most frequent sign of the language."""
    n, V = len(secret), len(frequencies)
    guess = np.empty((n, V), dtype=int)
    ranked = np.argsort(-symbol_counts(secret, V), axis=1, kind="stable")  # cipher symbols, the most frequent first
    np.put_along_axis(guess, ranked, np.argsort(-frequencies, kind="stable")[None].repeat(n, axis=0), axis=1)
    return guess


def bigram_em(
    secret: Int[np.ndarray, "n T"], frequencies: Float[np.ndarray, " V"], bigrams: Float[np.ndarray, "V V"], iterations: int
) -> Int[np.ndarray, "n V"]:
    """Decipherment by expectation and maximisation: a hidden Markov model whose states are the true signs.

    Its transitions are the language's bigrams; the emission P(cipher symbol | sign), free for each prompt, starts from how well the symbol's count fits the
    sign's frequency (Poisson) and is re-estimated by Baum and Welch. A symbol is read as the sign that it most often stands for.
    """
    n, T = secret.shape
    V = len(frequencies)
    counts = symbol_counts(secret, V)[:, None, :]
    expected = T * frequencies[:, None]
    emission = np.exp(counts * np.log(expected) - expected - gammaln(counts + 1)) + 1e-6  # (n, sign, symbol)
    emission /= emission.sum(axis=2, keepdims=True)
    shown = (secret[:, :, None] == np.arange(V)).astype(float)  # (n, T, symbol)
    for _ in range(iterations):
        seen = shown @ emission.swapaxes(1, 2)  # (n, T, sign): P(x_t | sign)
        forward, backward = np.empty((n, T, V)), np.ones((n, T, V))
        for t in range(T):
            forward[:, t] = (frequencies if t == 0 else forward[:, t - 1] @ bigrams) * seen[:, t]
            forward[:, t] /= forward[:, t].sum(axis=1, keepdims=True)
        for t in range(T - 2, -1, -1):
            backward[:, t] = (backward[:, t + 1] * seen[:, t + 1]) @ bigrams.T
            backward[:, t] /= backward[:, t].sum(axis=1, keepdims=True)
        posterior = forward * backward
        posterior /= posterior.sum(axis=2, keepdims=True)
        joint = posterior.swapaxes(1, 2) @ shown  # (n, sign, symbol): expected occurrences
        emission = (joint + 1e-3) / (joint + 1e-3).sum(axis=2, keepdims=True)
    return joint.argmax(axis=1)


def guess_accuracy(guess: Int[np.ndarray, "n V"], secret: Int[np.ndarray, "n T"], plain: Int[np.ndarray, "n T"], asked: Int[np.ndarray, " letters"]) -> float:
    """Share of the occurrences of the ``asked`` signs that are read rightly."""
    right = np.take_along_axis(guess, secret, axis=1) == plain
    return float(right[np.isin(plain, asked)].mean())
