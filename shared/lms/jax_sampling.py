"""Sampling from a decoder in JAX: a batch of prompts at once, keys and values cached, one compiled program.

ids, mask = pad(prompts, side="left")
tokens, log_probs = sample(params, config, ids, mask, jax.random.split(key, len(ids)), new_tokens=32, temperature=0.8, top_p=0.9)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from shared.lms.config import ModelConfig
from shared.lms.jax_model import NONE, Injections, empty_cache, run, unembed


def restrict(logits: Float[Array, "... vocab"], top_k: int = 0, top_p: float = 1.0) -> Float[Array, "... vocab"]:
    """-inf for all but the ``top_k`` likeliest tokens (0: all), and of these all but the smallest set whose mass reaches ``top_p``."""
    if top_k:
        logits = jnp.where(logits < jax.lax.top_k(logits, top_k)[0][..., -1:], -jnp.inf, logits)
    if top_p < 1:
        descending = -jnp.sort(-logits, axis=-1)
        mass = jax.nn.softmax(descending, axis=-1)
        before = jnp.cumsum(mass, axis=-1) - mass  # a token stays if the likelier ones alone do not reach top_p
        last = jnp.sum(before < top_p, axis=-1, keepdims=True) - 1
        logits = jnp.where(logits < jnp.take_along_axis(descending, last, axis=-1), -jnp.inf, logits)
    return logits


def draw(key: Array, logits: Float[Array, " vocab"], temperature: float, top_k: int, top_p: float) -> Int[Array, ""]:
    """One token from softmax(logits / temperature), restricted; temperature 0 takes the likeliest."""
    if temperature == 0:
        return jnp.argmax(logits, axis=-1)
    return jax.random.categorical(key, restrict(logits / temperature, top_k, top_p))


def continuations(
    params: dict,
    config: ModelConfig,
    prompts: Int[Array, "batch length"],
    mask: Bool[Array, "batch length"],
    keys: Key[Array, " batch"],
    new_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    end: int | None = None,
    pad: int = 0,
    inject: Injections = NONE,
) -> tuple[Int[Array, "batch new_tokens"], Float[Array, "batch new_tokens"]]:
    """Continuations of left-padded prompts, and each token's log-probability at temperature 1, unrestricted.

    This is the pure function; ``sample`` is its compiled form, for a model without injections.
    After the token ``end`` come ``pad`` tokens of log-probability 0. Each row draws from its own key, so it does not depend on the others.
    """
    batch, length = prompts.shape
    slots = length + new_tokens
    present = jnp.concatenate([mask, jnp.ones((batch, new_tokens), bool)], axis=1)
    places = jnp.maximum(jnp.cumsum(present, axis=1) - 1, 0)
    cache = empty_cache(config, (batch,), slots, params["layers"][0]["k"]["weight"].dtype)
    states, cache = run(params, config, prompts, present, places[:, :length], cache=cache, inject=inject)

    def step(carry, i):
        cache, last, done = carry  # last: (batch, width), the state that predicts token i
        scores = unembed(params, config, last).astype(jnp.float32)
        token = jax.vmap(draw, in_axes=(0, 0, None, None, None))(jax.vmap(jax.random.fold_in, (0, None))(keys, i), scores, temperature, top_k, top_p)
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(scores), token[:, None], axis=1)[:, 0]
        token, log_prob = jnp.where(done, pad, token), jnp.where(done, 0.0, log_prob)
        done = done | (token == end) if end is not None else done
        here = jax.lax.dynamic_slice_in_dim(places, length + i, 1, axis=1)
        states, cache = run(params, config, token[:, None], present, here, cache=cache, inject=inject)
        return (cache, states[-1][:, -1], done), (token, log_prob)

    _, (tokens, log_probs) = jax.lax.scan(step, (cache, states[-1][:, -1], jnp.zeros(batch, bool)), jnp.arange(new_tokens))
    return tokens.T, log_probs.T


sample = jax.jit(continuations, static_argnames=("config", "new_tokens", "temperature", "top_k", "top_p", "end", "pad"))
