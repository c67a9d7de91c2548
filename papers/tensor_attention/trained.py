"""One attention layer of order 2 or 3, trained on Match3: token table, heads, a two-layer read-out at every position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from papers.tensor_attention.match3 import match3, match3_of_two
from papers.tensor_attention.model import TOKENS

Params = dict[str, Array]


@dataclass(frozen=True)
class Layer:
    """The shape of a network. Order 2 is a matrix-attention layer, order 3 a tensor-attention layer."""

    order: int
    heads: int
    d: int
    """Width of a head's queries, keys and values."""
    M: int
    width: int
    """Width of the token table."""
    hidden: int
    """Width of the read-out's hidden layer."""


def head_width(order: int, heads: int, d: int, reference: int = 3) -> int:
    """At least ``d``, and enough that ``heads`` heads of this order have no fewer parameters than one head of order ``reference`` and width ``d``."""
    maps = 2 * order - 1  # Q, K_1..K_{k-1}, V_1..V_{k-1}
    return max(d, -(-(2 * reference - 1) * d // (maps * heads)))


def init(key: Key[Array, ""], layer: Layer) -> Params:
    """Gaussian weights with variance 1 / fan-in (2 / fan-in before a ReLU); a token table with unit variance."""
    table, maps, first, last = jax.random.split(key, 4)
    joined = layer.width + layer.heads * layer.d
    return {
        "table": jax.random.normal(table, (layer.M, layer.width)),
        "maps": jax.random.normal(maps, (2 * layer.order - 1, layer.heads, layer.width, layer.d)) / layer.width**0.5,
        "W1": jax.random.normal(first, (joined, layer.hidden)) * (2 / joined) ** 0.5,
        "b1": jnp.zeros(layer.hidden),
        "W2": jax.random.normal(last, (layer.hidden,)) / layer.hidden**0.5,
        "b2": jnp.zeros(()),
    }


def n_parameters(layer: Layer) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda: init(jax.random.key(0), layer))))


def head(Q: Float[Array, "n d"], keys: list[Float[Array, "n d"]], values: list[Float[Array, "n d"]]) -> Float[Array, "n d"]:
    """`model.exact_attention` with all n^k weights at once, which is the faster way when n is small."""
    n, d = Q.shape
    j = TOKENS[: len(keys)]
    logits = jnp.einsum(f"iy,{','.join(f'{letter}y' for letter in j)}->i{j}", Q / d, *keys)
    A = jax.nn.softmax(logits.reshape(n, -1)).reshape(logits.shape)
    return jnp.einsum(f"i{j},{','.join(f'{letter}z' for letter in j)}->iz", A, *values)


def logit(params: Params, x: Int[Array, " n"]) -> Float[Array, " n"]:
    """Log-odds of a match at every position of one sequence."""
    tokens = params["table"][x]  # (n, width)
    Q, *keys_and_values = jnp.einsum("nw,thwd->thnd", tokens, params["maps"])
    order = len(keys_and_values) // 2 + 1
    attended = jax.vmap(head)(Q, keys_and_values[: order - 1], keys_and_values[order - 1 :])  # (heads, n, d)
    joined = jnp.concatenate([tokens, *attended], axis=1)
    return jax.nn.relu(joined @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]


def balanced_accuracy(yes: Array, y: Array) -> Array:
    """Mean of the accuracies on matches and on non-matches."""
    return ((yes & y).sum() / y.sum() + (~yes & ~y).sum() / (~y).sum()) / 2


def accuracies(yes: Bool[Array, "... n"], x: Int[Array, "... n"], M: int) -> dict[str, Array]:
    """Balanced accuracy on all positions, and on those where two places make no match: there a match takes three different tokens."""
    y, two = match3(x, M), match3_of_two(x, M)
    found, quiet = (yes & y & ~two).sum() / (y & ~two).sum(), (~yes & ~y).sum() / (~y).sum()
    return {"accuracy": balanced_accuracy(yes, y), "triples_accuracy": (found + quiet) / 2}


@cache
def training(layer: Layer, n: int, batch: int, steps: int, warmup: int):
    """``init``, ``step`` and ``measure`` for `shared.optim.many.train_many`. A run's data: its key, its learning rate, its test sequences x.

    Adam on binary cross-entropy, fresh sequences at every step, linear warm-up and cosine decay of the learning rate.
    """
    adam = optax.scale_by_adam(b2=0.98)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, steps)

    def loss(params, x):
        return optax.sigmoid_binary_cross_entropy(jax.vmap(partial(logit, params))(x), match3(x, layer.M)).mean()

    def start(key):
        params = init(key, layer)
        return params, adam.init(params)

    def step(state, t, data):
        params, moments = state
        x = jax.random.randint(jax.random.fold_in(data["key"], t), (batch, n), 0, layer.M)
        direction, moments = adam.update(jax.grad(loss)(params, x), moments)
        rate = data["learning_rate"] * schedule(t)
        return jax.tree.map(lambda weight, change: weight - rate * change, params, direction), moments

    def measure(state, data):
        yes = jax.vmap(partial(logit, state[0]))(data["x"]) > 0
        return accuracies(yes, data["x"], layer.M)

    return start, step, measure
