"""The learner: a GPT-NeoX-like Transformer that reads a start token and draws from an urn, and its training on D urns.

Runs (seeds x task diversities D) lie along a leading axis and are trained together by ``shared.optim.many.train_many``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from shared.icl.urns import draw_sequences
from shared.lms.config import ModelConfig, decoder, rotary_frequencies
from shared.lms.jax_model import logits


class Sequences(NamedTuple):
    """What a run is evaluated on: draws from its training urns (ID) and from fresh urns (OOD)."""

    in_distribution: Int[Array, "n C"]
    out_of_distribution: Int[Array, "n C"]


class Stream(NamedTuple):
    """What a run is trained on: the key of its batches and its D urns, repeated to as many rows as the largest D has."""

    key: PRNGKeyArray
    urns: Float[Array, "rows V"]
    evaluation: Sequences


class State(NamedTuple):
    params: dict
    adam: optax.OptState


@functools.cache
def neox(V: int, C: int, width: int, mlp: float) -> ModelConfig:
    """One layer, one head; the first quarter of the head's coordinates rotary, GELU, LayerNorm, no attention biases. Token V is the start."""
    turning = rotary_frequencies(width // 4)
    frequencies = turning + (0.0,) * (width // 2 - len(turning))
    return decoder(
        width, layers=1, heads=1, context=C, vocab=V + 1, ffn=round(mlp * width), norm="layer", norm_eps=1e-5, activation="gelu", biased=("up", "down"),
        frequencies=frequencies, tied=False,
    )  # fmt: skip


@functools.cache
def adamw(lr: float, warmup: int) -> optax.GradientTransformation:
    """Gradient norm clipped at 1, a linear warm-up, then a constant step size; no weight decay."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.linear_schedule(0.0, lr, warmup), weight_decay=0.0))


def log_predictions(params: dict, config: ModelConfig, ids: Int[Array, "n C"]) -> Float[Array, "n C V"]:
    """log T(. | s_<t) before each of the C draws: the start token alone comes before the first, and the last draw is only a target."""
    V = config.vocab - 1
    inputs = jnp.pad(ids[:, :-1], ((0, 0), (1, 0)), constant_values=V)
    return jax.nn.log_softmax(logits(params, config, inputs)[..., :V])  # the start token is never drawn


def cross_entropy(params: dict, config: ModelConfig, ids: Int[Array, "n C"]) -> Float[Array, ""]:
    """Mean next-token loss, nats."""
    return -jnp.take_along_axis(log_predictions(params, config, ids), ids[..., None], axis=-1).mean()


@functools.cache
def training_step(config: ModelConfig, optimiser: optax.GradientTransformation, batch: int) -> Callable:
    """``step(state, t, stream)``: one step on batch number t, each sequence from an urn chosen evenly among the run's D."""

    def step(state: State, t: Array, stream: Stream) -> State:
        ids = draw_sequences(jax.random.fold_in(stream.key, t), stream.urns, batch, config.context)
        updates, adam = optimiser.update(jax.grad(cross_entropy)(state.params, config, ids), state.adam, state.params)
        return State(optax.apply_updates(state.params, updates), adam)

    return step


@functools.cache
def evaluation(config: ModelConfig) -> Callable:
    """``measure(state, stream)``: the Transformer's predictive distributions on the ID and on the OOD sequences, each (n, C, V)."""

    def measure(state: State, stream: Stream) -> dict:
        return {name: jnp.exp(log_predictions(state.params, config, ids)) for name, ids in stream.evaluation._asdict().items()}

    return measure
