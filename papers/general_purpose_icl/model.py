"""Tasks made from one data set by random projections and label permutations, and the learners that are meta-trained on them.

Symbols as in the paper: a task tau = (A, rho) turns a base example (x, y) into (A x, rho(y)). Here x has dx entries, A x has d (the paper: d = dx), labels are
0 .. C - 1, a sequence has T examples, K tasks are fixed before meta-training. Token j of a sequence is [A x_j ; onehot(rho(y_{j-1}))]: a learner answers for
example j before it is told that example's label.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from shared.lms import jax_model
from shared.lms.config import ModelConfig, decoder

UNLIMITED = 2**31 - 1
"""K that stands for "without limit": so many tasks that no run meets one twice."""


# ---- tasks and sequences ----


class Base(NamedTuple):
    """A data set that tasks are made from, inputs standardised."""

    x: Float[Array, "n dx"]
    y: Int[Array, " n"]


class Task(NamedTuple):
    A: Float[Array, "d dx"]
    rho: Int[Array, " C"]


class Sequence(NamedTuple):
    x: Float[Array, "... T d"]
    y: Int[Array, "... T"]


def draw_task(key: PRNGKeyArray, task_id: Int[Array, ""], q: Float[Array, ""] | float, d: int, dx: int, C: int) -> Task:
    """Task number ``task_id`` of ``key``: A_ij ~ N(0, 1/dx); rho the fixed permutation rho_0 with probability q, else any with equal chance.

    It is derived anew whenever it is needed, so K tasks cost no memory. We take the identity for rho_0, which loses nothing: the names of labels are arbitrary.
    """
    key_A, key_rho, key_bias = jax.random.split(jax.random.fold_in(key, task_id), 3)
    A = jax.random.normal(key_A, (d, dx)) / math.sqrt(dx)
    rho_0 = jnp.arange(C)
    any_rho = jnp.argsort(jax.random.uniform(key_rho, (C,)))  # compiles much faster than jax.random.permutation
    return Task(A, jnp.where(jax.random.uniform(key_bias) < q, rho_0, any_rho))


def draw_sequence(key: PRNGKeyArray, task: Task, base: Base, T: int, distinct: bool = False) -> Sequence:
    """T examples of a task, i.i.d.; or ``distinct`` ones, so that a test query is never an example that the context has already labelled."""
    n = len(base.y)
    chosen = jax.lax.top_k(jax.random.uniform(key, (n,)), T)[1] if distinct else jax.random.randint(key, (T,), 0, n)
    return Sequence(jnp.take(base.x, chosen, axis=0) @ task.A.T, task.rho[jnp.take(base.y, chosen)])


def draw_batch(
    key: PRNGKeyArray, task_key: PRNGKeyArray, K: Int[Array, ""] | int, q: Float[Array, ""] | float, base: Base, size: tuple[int, int, int, int],
    distinct: bool = False,
) -> Sequence:  # fmt: skip
    """``size`` = (batch, T, d, C): one sequence each from ``batch`` tasks, drawn evenly from the K tasks of ``task_key``."""
    batch, T, d, C = size
    key_id, key_examples = jax.random.split(key)
    task_ids = jax.random.randint(key_id, (batch,), 0, K)

    def one(task_id: Int[Array, ""], key: PRNGKeyArray) -> Sequence:
        return draw_sequence(key, draw_task(task_key, task_id, q, d, base.x.shape[1], C), base, T, distinct)

    return jax.vmap(one)(task_ids, jax.random.split(key_examples, batch))


def tokens(sequence: Sequence, C: int) -> Float[Array, "... T d+C"]:
    """[A x_j ; onehot(y_{j-1})], with zeros for the label before the first."""
    labels = jax.nn.one_hot(sequence.y, C)
    before = jnp.concatenate([jnp.zeros_like(labels[..., :1, :]), labels[..., :-1, :]], axis=-2)
    return jnp.concatenate([sequence.x, before], axis=-1)


# ---- learners ----


class Shape(NamedTuple):
    """All that fixes a learner's computation."""

    kind: str  # transformer, lstm or mlp
    width: int
    layers: int
    heads: int
    T: int
    d: int
    C: int

    @property
    def decoder(self) -> ModelConfig:
        """Pre-norm causal Transformer with GELU layers of factor 4 and rotary positions."""
        return decoder(self.width, self.layers, self.heads, self.T, 0, ffn=4 * self.width, activation="gelu", norm="layer")


def init_linear(key: PRNGKeyArray, into: int, out: int, gain: float = 1.0) -> dict:
    """A map of the given gain, without a bias at first."""
    return {"weight": gain * jax.random.normal(key, (out, into)) / math.sqrt(into), "bias": jnp.zeros(out)}


def init_learner(key: PRNGKeyArray, shape: Shape) -> dict:
    """Maps of unit gain; a read-out small enough that an untrained learner says log C."""
    key_embed, key_body, key_read = jax.random.split(key, 3)
    w, inputs = shape.width, shape.d + shape.C
    if shape.kind == "transformer":
        body = jax_model.init(key_body, shape.decoder)  # normal(0, 0.02), made for models of width 2500: brought to 1/sqrt(width)
        body = body | {"layers": jax.tree.map(lambda p: p / (0.02 * math.sqrt(w)) if p.ndim == 2 else p, body["layers"])}
    elif shape.kind == "lstm":
        body = init_linear(key_body, 2 * w, 4 * w)
        body["bias"] = body["bias"].at[w : 2 * w].set(1.0)  # an open forget gate
    elif shape.kind == "mlp":
        inputs, body = shape.d, init_linear(key_body, w, w, math.sqrt(2))
    else:
        raise ValueError(f"no learner is called {shape.kind!r}")
    return {"embed": init_embedding(key_embed, shape.d, inputs, w), "body": body, "read": init_linear(key_read, w, shape.C, 0.1)}


def init_embedding(key: PRNGKeyArray, d: int, inputs: int, width: int) -> dict:
    """The input, the label before it and a constant each enter a token with variance 1; rotary attention to a place needs the constant."""
    key_weight, key_bias = jax.random.split(key)
    gain = jnp.where(jnp.arange(inputs) < d, 1 / math.sqrt(d), 1.0)
    return {"weight": gain * jax.random.normal(key_weight, (width, inputs)), "bias": jax.random.normal(key_bias, (width,))}


def lstm(p: dict, x: Float[Array, "... T width"]) -> Float[Array, "... T width"]:
    """c_t = f c_{t-1} + i g, h_t = o tanh(c_t), gates i, f, o = sigmoid and g = tanh of W [x_t ; h_{t-1}] + b."""
    zeros = jnp.zeros_like(x[..., 0, :])

    def cell(state: tuple[Array, Array], x_t: Array) -> tuple[tuple[Array, Array], Array]:
        h, c = state
        i, f, g, o = jnp.split(jax_model.linear(p, jnp.concatenate([x_t, h], axis=-1)), 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    _, h = jax.lax.scan(cell, (zeros, zeros), jnp.moveaxis(x, -2, 0))
    return jnp.moveaxis(h, 0, -2)


def predict(params: dict, shape: Shape, sequence: Sequence) -> Float[Array, "... T C"]:
    """Logits for every y_j from x_1, y_1, ..., x_{j-1}, y_{j-1}, x_j; the MLP sees x_j alone."""
    inputs = sequence.x if shape.kind == "mlp" else tokens(sequence, shape.C)
    x = jax_model.linear(params["embed"], inputs)
    if shape.kind == "transformer":
        h = jax_model.last_hidden_state(params["body"], shape.decoder, x)
    elif shape.kind == "lstm":
        h = lstm(params["body"], x)
    else:
        h = jax.nn.relu(jax_model.linear(params["body"], jax.nn.relu(x)))
    return jax_model.linear(params["read"], h)


def state_size(shape: Shape) -> int:
    """Numbers that a learner carries from one example to the next: keys and values of T tokens; h and c; nothing."""
    return {"transformer": 2 * shape.layers * shape.T * shape.width, "lstm": 2 * shape.width, "mlp": 0}[shape.kind]


def parameter_count(params: dict) -> int:
    return sum(p.size for p in jax.tree.leaves(params))


# ---- meta-training ----


def cross_entropy(logits: Float[Array, "... T C"], y: Int[Array, "... T"]) -> Float[Array, ""]:
    """Mean over sequences and over all positions j."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def accuracy_by_position(logits: Float[Array, "batch T C"], y: Int[Array, "batch T"]) -> Float[Array, " T"]:
    return (logits.argmax(axis=-1) == y).mean(axis=0)


class Run(NamedTuple):
    """What stays the same through one meta-training run."""

    key: PRNGKeyArray  # examples of a step
    task_key: PRNGKeyArray  # tasks
    base: Base
    K: Int[Array, ""]
    q: Float[Array, ""]
    lr: Float[Array, ""]
    probe: Sequence  # fresh tasks with random permutations, on which the plateau is measured


class State(NamedTuple):
    params: dict
    moments: optax.OptState


WARM_UP = 100
"""Steps over which the step size rises from zero."""
ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(b2=0.99))


def init_state(key: PRNGKeyArray, shape: Shape) -> State:
    params = init_learner(key, shape)
    return State(params, ADAM.init(params))


@functools.cache
def training_step(shape: Shape, batch: int):
    """``step(state, t, run)``: Adam on the mean cross-entropy of a fresh batch of sequences."""
    size = (batch, shape.T, shape.d, shape.C)

    def loss(params: dict, sequence: Sequence) -> Float[Array, ""]:
        return cross_entropy(predict(params, shape, sequence), sequence.y)

    def step(state: State, t: Int[Array, ""], run: Run) -> State:
        sequence = draw_batch(jax.random.fold_in(run.key, t), run.task_key, run.K, run.q, run.base, size)
        direction, moments = ADAM.update(jax.grad(loss)(state.params, sequence), state.moments)
        rate = run.lr * jnp.minimum(1.0, (t + 1) / WARM_UP)
        return State(jax.tree.map(lambda p, u: p - rate * u, state.params, direction), moments)

    return step


@functools.cache
def probing(shape: Shape):
    """``measure(state, run)``: loss and accuracies at the first and last position on the probe."""

    def measure(state: State, run: Run) -> dict:
        logits = predict(state.params, shape, run.probe)
        accuracy = accuracy_by_position(logits, run.probe.y)
        return {"loss": cross_entropy(logits, run.probe.y), "first": accuracy[0], "last": accuracy[-1]}

    return measure
