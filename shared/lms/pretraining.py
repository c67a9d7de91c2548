"""Pre-training as one JAX program: the steps are a ``lax.scan``, the text lies on the device as int16, a step's windows are cut out of it there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Int16, PRNGKeyArray

from shared.lms.config import ModelConfig
from shared.lms.jax_model import cast, init, sinusoids
from shared.lms.objectives import masked_loss, next_token_loss
from shared.lms.recipes import Recipe
from shared.lms.tokenization import Tokenizer


class State(NamedTuple):
    """All that a run carries from one step to the next."""

    params: dict
    optimiser: tuple
    step: Int[Array, ""]


class Program(NamedTuple):
    """Two pure functions, to be compiled (``compiled``) or mapped over seeds first."""

    start: Callable[[PRNGKeyArray], State]
    advance: Callable[[State, Int16[Array, " tokens"], Int[Array, "steps batch"], PRNGKeyArray], tuple[State, Float[Array, " steps"]]]
    """``advance(state, tokens, starts, key)`` makes as many steps as ``starts`` has rows and returns their losses."""


def optimiser(recipe: Recipe) -> optax.GradientTransformation:
    """AdamW (0.9, 0.95), gradients clipped to norm 1, linear warm-up, cosine decay."""
    warm_up = max(1, round(recipe.warm_up * recipe.steps))
    rate = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, warm_up, recipe.steps, recipe.final_rate * recipe.learning_rate)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, b1=0.9, b2=0.95, weight_decay=recipe.weight_decay, mask=matrices))


def matrices(params: dict) -> dict:
    """True for matrices and tables, False for norms and biases."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def initial(key: PRNGKeyArray, config: ModelConfig, recipe: Recipe) -> dict:
    """The start of ``init`` with the recipe's scale of the layers; learned positions start as sinusoids of the tables' size, which one linear map can shift."""
    params = init(key, config)
    larger = partial(jax.tree.map, lambda p: recipe.initial_scale / 0.02 * p if p.ndim > 1 else p)
    params["layers"] = larger(params["layers"])
    if config.head_transform:
        params["head"]["dense"] = larger(params["head"]["dense"])
    if config.positions == "learned":
        params["positions"]["weight"] = 0.02 * sinusoids(jnp.arange(config.context), config.width)
    return params


def program(config: ModelConfig, recipe: Recipe, tokenizer: Tokenizer, dtype=jnp.float32) -> Program:
    """The training program of a decoder or an encoder; ``dtype`` is what the model computes in, the weights stay float32."""
    update = optimiser(recipe)

    def start(key: PRNGKeyArray) -> State:
        params = initial(key, config, recipe)
        return State(params, update.init(params), jnp.zeros((), jnp.int32))

    def loss(params: dict, windows: Int[Array, "batch length"], key: PRNGKeyArray) -> Float[Array, ""]:
        if config.causal:
            return next_token_loss(cast(params, dtype), config, windows)
        ids = windows[:, :-1].at[:, 0].set(tokenizer.cls)
        return masked_loss(cast(params, dtype), config, ids, key, recipe.mask_share, tokenizer.mask)

    def advance(state: State, tokens: Array, starts: Array, key: PRNGKeyArray) -> tuple[State, Array]:
        def step(state: State, begin: Int[Array, " batch"]) -> tuple[State, Array]:
            windows = tokens[begin[:, None] + jnp.arange(config.context + 1)].astype(jnp.int32)
            value, gradient = jax.value_and_grad(loss)(state.params, windows, jax.random.fold_in(key, state.step))
            change, inner = update.update(gradient, state.optimiser, state.params)
            return State(optax.apply_updates(state.params, change), inner, state.step + 1), value

        return jax.lax.scan(step, state, starts)

    return Program(start, advance)


def compiled(run: Program, **options) -> Program:
    """The program as two compiled functions; ``advance`` overwrites the state that it is given."""
    return Program(jax.jit(run.start, **options), jax.jit(run.advance, donate_argnums=0, **options))
