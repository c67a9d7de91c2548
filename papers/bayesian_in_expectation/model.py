"""The networks that read a stream of tosses, and the exact Bayesian that they are held against.

A stream is x_1, x_2, ... in {0, .., V-1}, drawn from theta ~ Dirichlet(1, .., 1); V = 2 is a coin, p ~ Beta(1, 1). After n draws, n_v of them v,
the Bayesian predicts by Laplace's rule P(v) = (n_v + 1) / (n + V): the counts are sufficient, their order says nothing. A causal Transformer is asked for the
same probabilities behind every prefix of BOS, x_1, x_2, ...; what its positional encoding makes of the order is the paper's subject.

One layer without positions sees a prefix as the last symbol and the *set* of the others: its predictions are exchangeable in x_1 .. x_{n-1}, exactly. Two
causal layers are not, with or without positions: the states that the second layer averages have each read another part of the prefix.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from shared.icl.urns import draw_sequences, draw_urns
from shared.lms import jax_model
from shared.lms.config import ModelConfig, alibi_slopes, decoder

POSITIONAL = ("learned", "sinusoidal", "rotary", "alibi")
"""The encodings that see an order; "none" is the fifth of the ablation."""


# ---- streams ----


def draw_streams(key: PRNGKeyArray, V: int, batch: int, T: int) -> Int[Array, "batch T"]:
    """One urn theta ~ Dirichlet(1, .., 1) for each stream, and T draws from it."""

    def one(key: PRNGKeyArray) -> Int[Array, " T"]:
        key_urn, key_draws = jax.random.split(key)
        return draw_sequences(key_draws, draw_urns(key_urn, 1, V), 1, T)[0]

    return jax.vmap(one)(jax.random.split(key, batch))


# ---- the Transformer ----


def transformer(V: int, T: int, encoding: str, layers: int, width: int, heads: int) -> ModelConfig:
    """Pre-norm decoder on the V symbols and BOS (token V), MLP factor 4; it predicts x_1 .. x_T, so it has T positions."""
    slopes = alibi_slopes(heads) if encoding == "alibi" else ()
    return decoder(width, layers, heads, T, vocab=V + 1, positions=encoding, slopes=slopes, activation="gelu_tanh", ffn=4 * width, tied=False)


def init_params(key: PRNGKeyArray, config: ModelConfig) -> dict:
    """The shared initialisation with token vectors of unit variance, lest sinusoids, which are of that size, drown them (Vaswani et al. scale theirs likewise).

    Models of one key that differ in their encoding start from the same weights.
    """
    params = jax_model.init(key, config)
    return params | {"tokens": {"weight": params["tokens"]["weight"] / 0.02}}


def read(config: ModelConfig, ids: Int[Array, "... n"]) -> Int[Array, "... n+1"]:
    """BOS before the draws."""
    return jnp.concatenate([jnp.full_like(ids[..., :1], config.vocab - 1), ids], axis=-1)


def log_predictive(params: dict, config: ModelConfig, ids: Int[Array, "... n"], **options) -> Float[Array, "... n+1 V"]:
    """log P(x_{t+1} = v | x_1 .. x_t) behind every prefix, t = 0 .. n. BOS is never predicted and has no share."""
    scores = jax_model.logits(params, config, read(config, ids), **options)
    return jax.nn.log_softmax(scores[..., :-1], axis=-1)


# ---- a network that is exchangeable by construction ----


def init_mean_pool(key: PRNGKeyArray, V: int, width: int) -> dict:
    """Deep Sets: a vector for each symbol and for BOS, and a perceptron on their mean."""
    keys = jax.random.split(key, 3)
    return {
        "phi": jax.random.normal(keys[0], (V + 1, width)),
        "hidden": {"weight": jax.random.normal(keys[1], (4 * width, width)) * width**-0.5, "bias": jnp.zeros(4 * width)},
        "out": {"weight": jax.random.normal(keys[2], (V, 4 * width)) * 0.02, "bias": jnp.zeros(V)},
    }


def log_predictive_mean_pool(params: dict, ids: Int[Array, "... n"]) -> Float[Array, "... n+1 V"]:
    """log softmax rho((phi(BOS) + sum_{s <= t} phi(x_s)) / (t + 1)), t = 0 .. n; BOS tells how long the prefix is."""
    bos = params["phi"][-1]
    counts = jnp.cumsum(jax.nn.one_hot(ids, len(params["phi"]) - 1, dtype=bos.dtype), axis=-2)  # whole numbers: the sum knows no order
    counts = jnp.concatenate([jnp.zeros_like(counts[..., :1, :]), counts], axis=-2)  # (..., n + 1, V)
    pooled = (bos + counts @ params["phi"][:-1]) / (1 + counts.sum(-1, keepdims=True))
    h = jax.nn.gelu(jax_model.linear(params["hidden"], pooled))
    return jax.nn.log_softmax(jax_model.linear(params["out"], h), axis=-1)


# ---- training loss ----


def next_symbol_loss(log_q: Float[Array, "... T V"], ids: Int[Array, "... T"]) -> Float[Array, ""]:
    """Mean of -log P(x_{t+1} | x_1 .. x_t) in nats; ``log_q[t]`` stands behind x_1 .. x_t."""
    return -jnp.take_along_axis(log_q, ids[..., None], axis=-1).mean()
