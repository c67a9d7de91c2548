"""The language model without a fixed embedding, its standard twin, and everything between (Sections 2 and 3).

A decoder-only Transformer f reads vectors and gives vectors. The table E, one row per symbol, makes symbols into vectors and vectors into scores:

    h = f(s, gain * E[x_1], ..., gain * E[x_T]),        P(x_{t+1} = v | x_1 .. x_t) = softmax_v(tau h_t . E_v / d)

s is a learned vector before every text, no symbol and the same for all: without it attention cannot tell one symbol read from a hundred like it.
Small models may have smeared keys (Olsson et al., 2022, "In-context learning and induction heads"): a head's key at place t is w k_t + (1 - w) k_{t-1} with
a learned w. To find what followed the present symbol earlier then takes one layer instead of two.
A standard model learns E. A lexinvariant one draws the rows anew from N(0, I_d) for every sequence, in training and in testing, and learns f, s, gain
and tau alone: it cannot know a symbol but by its company. A semi-lexinvariant model draws each row with probability p (``random_share``) and learns the others;
p = 0 is the standard model and p = 1 the lexinvariant one, so that all of them are this one program.

Shapes: B sequences (or none, for a single one), T symbols, V kinds of symbol, d the width.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from shared.lms import jax_model
from shared.lms.config import ModelConfig
from shared.lms.objectives import cross_entropy

TAU = 2.0
"""tau at the start: a symbol's score for itself. Sharp predictions need a tau of about 8, even starts one of 0."""


def init_params(key: PRNGKeyArray, config: ModelConfig, V: int, random_share: float, smeared: bool) -> dict:
    """The Transformer (``config.vocab`` is 0: it has no table), s, two scalars, a learned table unless every row is random, and w = sigmoid(smear) = 1/2.

    All models of one key start from the same Transformer. Rows of unit variance are what the random ones have too.
    """
    params = {
        "transformer": jax_model.init(key, config),
        "start": jax.random.normal(jax.random.fold_in(key, 2), (config.width,)),
        "log_gain": jnp.zeros(()),
        "log_tau": jnp.log(TAU),
    }
    if smeared:
        params["smear"] = [jnp.zeros(config.heads) for _ in range(config.layers)]
    if random_share < 1:
        params["table"] = jax.random.normal(jax.random.fold_in(key, 1), (V, config.width))
    return params


def draw_tables(key: PRNGKeyArray, params: dict, B: int, V: int, d: int, random_share: float) -> Float[Array, "B V d"]:
    """E for each of B sequences: row v is drawn from N(0, I_d) with probability ``random_share``, else it is the learned one."""
    if random_share == 0:
        return jnp.broadcast_to(params["table"], (B, V, d))
    draw_rows, draw_kinds = jax.random.split(key)
    drawn = orthogonalise(jax.random.normal(draw_rows, (B, V, d)))
    if random_share == 1:
        return drawn
    return jnp.where(jax.random.bernoulli(draw_kinds, random_share, (B, V, 1)), drawn, params["table"])


def orthogonalise(E: Float[Array, "*B V d"]) -> Float[Array, "*B V d"]:
    """Rows of length sqrt(d) at right angles that span what the rows of E span (Gram and Schmidt): Q with E = L Q / sqrt(d), L lower triangular.

    Gaussian rows have cosines of size 1/sqrt(d) between them, noise on every score: nearly none at the paper's width, a great deal at ours.
    """
    L = jnp.linalg.cholesky(E @ jnp.swapaxes(E, -1, -2))
    return E.shape[-1] ** 0.5 * jax.scipy.linalg.solve_triangular(L, E, lower=True)


def hidden(params: dict, config: ModelConfig, ids: Int[Array, "B T"], E: Float[Array, "B V d"]) -> Float[Array, "B T d"]:
    """h: the normalised output of the Transformer for symbols embedded by each sequence's own table."""
    x = jnp.exp(params["log_gain"]) * jnp.take_along_axis(E, ids[..., None], axis=-2)
    start = jnp.broadcast_to(params["start"], (*x.shape[:-2], 1, config.width))
    smearing = {(layer, "k"): functools.partial(smear_keys, smear) for layer, smear in enumerate(params.get("smear", []))}
    return jax_model.last_hidden_state(params["transformer"], config, jnp.concatenate([start, x], axis=-2), inject=smearing)[..., 1:, :]


def smear_keys(smear: Float[Array, " heads"], k: Float[Array, "*B T inner"], source: Array) -> Float[Array, "*B T inner"]:
    """w k_t + (1 - w) k_{t-1} in every head, w = sigmoid(smear); the first key stays. ``source``, what k was computed from, is not used."""
    w = jnp.repeat(jax.nn.sigmoid(smear), k.shape[-1] // len(smear))
    before = jnp.concatenate([k[..., :1, :], k[..., :-1, :]], axis=-2)
    return w * k + (1 - w) * before


def logits(params: dict, config: ModelConfig, ids: Int[Array, "B T"], E: Float[Array, "B V d"]) -> Float[Array, "B T V"]:
    """tau h . E_v / d. No bias per symbol: it would tell the symbols apart."""
    return jnp.exp(params["log_tau"]) / config.width * jax_model.unembed_with(hidden(params, config, ids, E), E)


def losses(params: dict, config: ModelConfig, windows: Int[Array, "B T+1"], E: Float[Array, "B V d"]) -> Float[Array, "B T"]:
    """-log P(x_{t+1} | x_1 .. x_t) in nats, t = 1 .. T."""
    return cross_entropy(logits(params, config, windows[..., :-1], E), windows[..., 1:])
