"""The item-label task, the two-layer attention-only network, and the measures of what the network does.

Symbols as in the paper: K classes, L labels, N item-label pairs in a context, D dimensions of an item or label, B burstiness, eps within-class noise,
p_C share of sequences with classes never seen before. A sequence has T = 2N + 1 tokens: item, label, ..., item, label, target item. A token has
E = span + D entries: a one-hot position, then the content.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

FRESH_CLASSES = 128
"""New class means drawn for each batch that needs classes never seen before (official code)."""


# ---- the task ----


class Setting(NamedTuple):
    """What is the same for all sequences of a condition; plain numbers, so that it can key a compiled program."""

    N: int
    B: int
    eps: float
    p_C: float
    span: int  # entries of the one-hot position, at least 2N + 1
    batch: int


class World(NamedTuple):
    """What one run's sequences are made of, drawn once per run."""

    mu: Float[Array, "K D"]  # class means
    label: Float[Array, "L D"]  # label vectors; class k has label k mod L
    cdf: Float[Array, " K"]  # P(class <= k)


class Sequences(NamedTuple):
    x: Float[Array, "batch T E"]
    y: Int[Array, " batch"]  # label of the target
    context: Int[Array, "batch N"]  # labels in the context


def draw_world(rng: np.random.Generator, K: int, L: int, D: int, alpha: float) -> World:
    """Class means and label vectors ~ N(0, I/D); P(k) proportional to k^-alpha, k = 1 .. K."""
    P = np.arange(1, K + 1) ** -alpha
    mu, label = rng.normal(size=(K, D)) / np.sqrt(D), rng.normal(size=(L, D)) / np.sqrt(D)
    return World(mu.astype(np.float32), label.astype(np.float32), (np.cumsum(P) / P.sum()).astype(np.float32))


def inverse_cdf(cdf: Float[Array, " K"], u: Float[Array, "*any"]) -> Int[Array, "*any"]:
    return jnp.minimum(jnp.searchsorted(cdf, u, side="right"), len(cdf) - 1)


class Classes(NamedTuple):
    context: Int[Array, "batch N"]
    target: Int[Array, " batch"]


def bursty_classes(key: PRNGKeyArray, cdf: Float[Array, " K"], N: int, B: int, batch: int) -> Classes:
    """N/B classes drawn from P, B copies of each, shuffled; the target is one of them."""
    key_class, key_shuffle, key_target = jax.random.split(key, 3)
    drawn = inverse_cdf(cdf, jax.random.uniform(key_class, (batch, N // B)))
    return shuffled(key_shuffle, key_target, drawn, B)


def distinct_classes(key: PRNGKeyArray, K: int, L: int, N: int, B: int, batch: int) -> Classes:
    """As ``bursty_classes``, but no two of the N/B classes share a label; classes of a label are equally likely."""
    key_label, key_class, key_shuffle, key_target = jax.random.split(key, 4)
    label = jnp.argsort(jax.random.uniform(key_label, (batch, L)), axis=1)[:, : N // B]
    drawn = label + L * jax.random.randint(key_class, label.shape, 0, K // L)
    return shuffled(key_shuffle, key_target, drawn, B)


def shuffled(key_shuffle: PRNGKeyArray, key_target: PRNGKeyArray, drawn: Int[Array, "batch N/B"], B: int) -> Classes:
    """B copies of each drawn class in random order. The target is drawn evenly among the context."""
    context = jnp.tile(drawn, (1, B))
    if B > 1:
        order = jnp.argsort(jax.random.uniform(key_shuffle, context.shape), axis=1)
        context = jnp.take_along_axis(context, order, axis=1)
    at = jax.random.randint(key_target, (len(drawn), 1), 0, context.shape[1])
    return Classes(context, jnp.take_along_axis(context, at, axis=1)[:, 0])


def independent_classes(key: PRNGKeyArray, cdf: Float[Array, " K"], N: int, batch: int, avoid_target: bool) -> Classes:
    """B = 0: context and target drawn from P independently; with ``avoid_target`` the context is drawn from P given that it is not the target's class."""
    key_target, key_context = jax.random.split(key)
    target = inverse_cdf(cdf, jax.random.uniform(key_target, (batch,)))
    u = jax.random.uniform(key_context, (batch, N))
    if avoid_target:
        below = jnp.where(target > 0, cdf[target - 1], 0.0)[:, None]
        mass = cdf[target][:, None] - below
        u = u * (1 - mass)  # the interval [0, 1) with the target's piece [below, below + mass) taken out ...
        u = jnp.where(u < below, u, u + mass)  # ... and what lies above it moved up again
    context = inverse_cdf(cdf, u)
    if avoid_target:  # rounding at the end of an interval may still give the target: its neighbour instead
        context = jnp.where(context == target[:, None], (context + 1) % len(cdf), context)
    return Classes(context, target)


def assemble(key: PRNGKeyArray, mu: Float[Array, "K D"], label: Float[Array, "L D"], classes: Classes, setting: Setting, shift: int = 0) -> Sequences:
    """Tokens of the chosen classes. Item = (mu_k + eps eta) / sqrt(1 + eps^2), eta ~ N(0, I/D); label (k + shift) mod L; positions from a random offset on."""
    (L, D), (batch, N), T = label.shape, classes.context.shape, 2 * setting.N + 1
    key_noise, key_offset = jax.random.split(key)
    every = jnp.concatenate([classes.context, classes.target[:, None]], axis=1)  # (batch, N + 1)
    eta = jax.random.normal(key_noise, (batch, N + 1, D)) / jnp.sqrt(D)
    item = (mu[every] + setting.eps * eta) / jnp.sqrt(1 + setting.eps**2)
    label_of = (every + shift) % L
    pairs = jnp.stack([item[:, :-1], label[label_of[:, :-1]]], axis=2).reshape(batch, 2 * N, D)
    content = jnp.concatenate([pairs, item[:, -1:]], axis=1)  # (batch, T, D)
    offset = jax.random.randint(key_offset, (batch, 1), 0, setting.span - T + 1)
    position = jax.nn.one_hot(offset + jnp.arange(T), setting.span)
    return Sequences(jnp.concatenate([position, content], axis=2), label_of[:, -1], label_of[:, :-1])


def fresh_means(key: PRNGKeyArray, D: int) -> Float[Array, "128 D"]:
    return jax.random.normal(key, (FRESH_CLASSES, D)) / jnp.sqrt(D)


def training_sequences(key: PRNGKeyArray, world: World, setting: Setting) -> Sequences:
    """One batch: bursty sequences (B > 0) or independent ones (B = 0) of the world's classes, a share p_C of them with fresh classes."""
    key_class, key_token, key_mean, key_fresh, key_which = jax.random.split(key, 5)
    N, B, batch = setting.N, setting.B, setting.batch
    classes = bursty_classes(key_class, world.cdf, N, B, batch) if B else independent_classes(key_class, world.cdf, N, batch, avoid_target=False)
    mu = world.mu
    if setting.p_C > 0:  # fresh means follow the world's in one table: a class index at or above K is one of them
        K = len(mu)
        mu = jnp.concatenate([mu, fresh_means(key_mean, mu.shape[1])])
        fresh = bursty_classes(key_fresh, uniform_cdf(FRESH_CLASSES), N, max(B, 1), batch)
        is_fresh = jax.random.uniform(key_which, (batch, 1)) < setting.p_C
        # K is a multiple of L, so class K + k has the label k mod L of fresh class k
        classes = Classes(jnp.where(is_fresh, K + fresh.context, classes.context), jnp.where(is_fresh[:, 0], K + fresh.target, classes.target))
    return assemble(key_token, mu, world.label, classes, setting)


def uniform_cdf(K: int) -> Float[Array, " K"]:
    return jnp.arange(1, K + 1) / K


class TestSets(NamedTuple):
    """What a run is tested on: the training distribution; novel classes; trained classes with labels shifted; trained classes missing from the context."""

    overall: Sequences
    ic: Sequences
    ic2: Sequences
    iw: Sequences


def draw_tests(key: PRNGKeyArray, world: World, setting: Setting) -> TestSets:
    """``setting.batch`` sequences of each kind. Labels of different classes of an ``ic`` or ``ic2`` context differ, so that an answer has one source."""
    keys = jax.random.split(key, 8)
    (K, D), L, N, B, n = world.mu.shape, len(world.label), setting.N, max(setting.B, 1), setting.batch
    novel = distinct_classes(keys[1], FRESH_CLASSES, L, N, B, n)
    trained = distinct_classes(keys[2], K, L, N, B, n)
    absent = independent_classes(keys[3], world.cdf, N, n, avoid_target=True)
    return TestSets(
        training_sequences(keys[0], world, setting),
        assemble(keys[4], fresh_means(keys[5], D), world.label, novel, setting),
        assemble(keys[6], world.mu, world.label, trained, setting, shift=1),
        assemble(keys[7], world.mu, world.label, absent, setting),
    )


# ---- the network ----


class Head(NamedTuple):
    """One attention head without output matrix: queries Q x, keys K x, values V x."""

    Q: Float[Array, "E E"]
    K: Float[Array, "E E"]
    V: Float[Array, "E E"]


class ReadOut(NamedTuple):
    """Three ReLU layers, each with one scalar bias, then a linear map to the logits."""

    W: tuple[Float[Array, "E_in E_out"], ...]
    b: tuple[Float[Array, ""], ...]
    out: Float[Array, "E L"]


class Params(NamedTuple):
    first: Head
    second: Head
    read_out: ReadOut


def init_params(rng: np.random.Generator, D: int, span: int, L: int) -> Params:
    """Q, K, V ~ N(0, 1/D). The official code says 1/sqrt(E) for the read-out's last map and sqrt(2/E) for its hidden layers."""
    E = span + D
    heads = [Head(*(rng.normal(size=(3, E, E)) / np.sqrt(D)).astype(np.float32)) for _ in range(2)]
    return Params(*heads, init_read_out(rng, E, E, L))


def init_read_out(rng: np.random.Generator, E_in: int, E: int, L: int, layers: int = 3) -> ReadOut:
    W = [rng.normal(size=(fan_in, E)) * np.sqrt(2 / fan_in) for fan_in in [E_in] + [E] * (layers - 1)]
    b = rng.normal(size=layers) / np.sqrt(E)
    out = rng.normal(size=(E, L)) / np.sqrt(E)
    return ReadOut(tuple(w.astype(np.float32) for w in W), tuple(b.astype(np.float32)), out.astype(np.float32))


def attention(head: Head, x: Float[Array, "batch T E"], rows: int) -> Float[Array, "batch rows T"]:
    """p_ij = softmax over j <= i of (Q x_i).(K x_j), without scaling, for the last ``rows`` tokens i."""
    T = x.shape[1]
    scores = (x[:, T - rows :] @ (head.Q.T @ head.K)) @ x.swapaxes(1, 2)
    causal = np.tril(np.ones((T, T), dtype=bool))[T - rows :]
    return jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)


def add_attention(head: Head, x: Float[Array, "batch T E"], rows: int) -> tuple[Float[Array, "batch rows E"], Float[Array, "batch rows T"]]:
    """x_i + sum_j p_ij V x_j for the last ``rows`` tokens, and p."""
    p = attention(head, x, rows)
    return x[:, -rows:] + (p @ x) @ head.V.T, p


def read(read_out: ReadOut, h: Float[Array, "... E_in"]) -> Float[Array, "... L"]:
    for W, b in zip(read_out.W, read_out.b, strict=True):
        h = jax.nn.relu(h @ W + b)
    return h @ read_out.out


def network(
    params: Params, x: Float[Array, "batch T E"], rows: int = 1
) -> tuple[Float[Array, "batch L"], Float[Array, "batch T T"], Float[Array, "batch rows T"]]:
    """Logits of the target's label, the first layer's attention, and the second's for the last ``rows`` tokens (the answer needs only the target's row)."""
    h, p1 = add_attention(params.first, x, rows=x.shape[1])
    h, p2 = add_attention(params.second, h, rows)
    return read(params.read_out, h[:, -1]), p1, p2


def cross_entropy(logits: Float[Array, "batch L"], y: Int[Array, " batch"]) -> Float[Array, ""]:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()


def loss(params: Params, sequences: Sequences) -> Float[Array, ""]:
    return cross_entropy(network(params, sequences.x)[0], sequences.y)


def sgd(params, grads, lr: Float[Array, ""], decay: float):
    """Plain SGD: params <- (1 - decay) params - lr grads."""
    return jax.tree.map(lambda param, grad: (1 - decay) * param - lr * grad, params, grads)


# ---- training and measuring one run ----


class Data(NamedTuple):
    world: World
    key: PRNGKeyArray
    tests: TestSets
    lr: Float[Array, ""]


@functools.cache
def training_step(setting: Setting, decay: float):
    """``step(params, t, data)``: plain SGD on a fresh batch."""

    def step(params: Params, t: Int[Array, ""], data: Data) -> Params:
        sequences = training_sequences(jax.random.fold_in(data.key, t), data.world, setting)
        return sgd(params, jax.grad(loss)(params, sequences), data.lr, decay)

    return step


def accuracy(logits: Float[Array, "batch L"], y: Int[Array, " batch"]) -> Float[Array, ""]:
    return (logits.argmax(axis=1) == y).mean()


def context_label_accuracy(logits: Float[Array, "batch L"], context: Int[Array, "batch N"]) -> Float[Array, ""]:
    """CLA: how often the answer is a label of the context, right or wrong."""
    return (logits.argmax(axis=1)[:, None] == context).any(axis=1).mean()


def item_label_attention(p1: Float[Array, "batch T T"]) -> Float[Array, ""]:
    """ILA: attention of the first layer from a label to its own item, the token before it."""
    labels = np.arange(1, p1.shape[1] - 1, 2)
    return p1[:, labels, labels - 1].mean()


def target_label_attention(p2: Float[Array, "batch 1 T"], sequences: Sequences) -> Float[Array, ""]:
    """TILA: attention of the second layer from the target to the labels that are the right answer, summed over their copies."""
    return (p2[:, -1, 1::2] * (sequences.context == sequences.y[:, None])).sum(axis=1).mean()


def measure(params: Params, data: Data) -> dict[str, Float[Array, ""]]:
    """Accuracies, loss and progress measures."""
    overall, ic, ic2, iw = data.tests
    logits, p1, p2 = network(params, jnp.concatenate([overall.x, ic.x, ic2.x, iw.x]))
    logits, ic_logits, ic2_logits, iw_logits = jnp.split(logits, 4)
    return {
        "loss": cross_entropy(logits, overall.y),
        "overall": accuracy(logits, overall.y),
        "ic": accuracy(ic_logits, ic.y),
        "ic2": accuracy(ic2_logits, ic2.y),
        "iw": accuracy(iw_logits, iw.y),
        "cla": context_label_accuracy(ic_logits, ic.context),
        "ila": item_label_attention(jnp.split(p1, 4)[1]),
        "tila": target_label_attention(jnp.split(p2, 4)[1], ic),
    }
