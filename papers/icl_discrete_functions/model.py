"""The sequence models that learn in context, and how they are trained (Section 3).

A prompt is read as x_1, y_1, x_2, y_2, ... with y as the vector (y, 0, .., 0); one linear map takes tokens to the width of the backbone, another takes its
output to one logit, which is read at each x_k: it knows x_1, y_1, .., y_{k-1}, x_k. The loss is binary cross-entropy, averaged over the positions that count.

Backbones: "transformer" (GPT-2: learned positions, pre-norm, GELU), "lstm", "retnet" (softmax replaced by a fixed decay), and "frozen", the Transformer as it
is drawn, of which nothing is learned but a map into it and one out of it, both with a hidden layer.

Symbols: B prompts, m points, n bits, T = 2m tokens, d width, H heads.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from papers.icl_discrete_functions.predictors import accuracy
from papers.icl_discrete_functions.tasks import TAUGHT, Prompts, Task, draw_prompts, nearest
from shared.lms import jax_model
from shared.lms.config import ModelConfig, encoder, rotary_frequencies

FROZEN_HIDDEN = 256
"""Width of the hidden layers around a frozen backbone."""
AFTER = 10
"""Positions after the teaching sequence at which accuracy is measured."""


class Network(NamedTuple):
    """An architecture; plain values, so that it can key a compiled program."""

    backbone: str
    layers: int
    width: int
    heads: int
    precision: str = "float32"


# ---- backbones: (params, embedded tokens) -> hidden states ----


def transformer_config(net: Network, task: Task) -> ModelConfig:
    """GPT-2's block (its GELU is the tanh form) at this width for 2m tokens; for RetNet the same with rotary positions."""
    positions = "rotary" if net.backbone == "retnet" else "learned"
    return encoder(
        net.width, net.layers, net.heads, 2 * task.m, vocab=0, causal=True, segments=0, embedding_norm=False, head_transform=False, norm_eps=1e-5,
        positions=positions, frequencies=rotary_frequencies(net.width // net.heads), activation="gelu_tanh",
    )  # fmt: skip


def init_lstm(key: PRNGKeyArray, net: Network) -> list[dict]:
    """torch's layout and default: uniform in +-1/sqrt(d), gates in the order input, forget, cell, output."""
    d = net.width
    shapes = {"weight_ih": (4 * d, d), "weight_hh": (4 * d, d), "bias_ih": (4 * d,), "bias_hh": (4 * d,)}
    keys = jax.random.split(key, (net.layers, len(shapes)))
    return [
        {name: jax.random.uniform(k, shape, minval=-(d**-0.5), maxval=d**-0.5) for k, (name, shape) in zip(row, shapes.items(), strict=True)} for row in keys
    ]


def lstm(layers: list[dict], h: Float[Array, "B T d"]) -> Float[Array, "B T d"]:
    """c_t = f c_{t-1} + i g, h_t = o tanh(c_t), layer by layer."""
    for p in layers:
        from_input = jnp.moveaxis(h @ p["weight_ih"].T + p["bias_ih"] + p["bias_hh"], -2, 0)  # (T, B, 4d): one product for all times

        def step(carry: tuple[Array, Array], z: Float[Array, "B 4d"], p: dict = p) -> tuple[tuple[Array, Array], Array]:
            h, c = carry
            i, f, g, o = jnp.split(z + h @ p["weight_hh"].T, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros_like(h[..., 0, :])
        h = jnp.moveaxis(jax.lax.scan(step, (zero, zero), from_input)[1], 0, -2)
    return h


def retention(p: dict, config: ModelConfig, x: Float[Array, "B T d"], angles: Float[Array, "T pairs"]) -> Float[Array, "B T d"]:
    """RetNet's mixer: head h reads sum_{j<=i} gamma_h^(i-j) (q_i . k_j) v_j, normalised, gated by silu(W_g x) (Sun et al., 2023, Eq. 5-8)."""

    def project(name: str) -> Float[Array, "B H T c"]:
        y = jax_model.linear(p[name], x)
        return jnp.swapaxes(y.reshape(*y.shape[:-1], config.heads, config.head_width), -3, -2)

    q, k, v = (project(name) for name in "qkv")
    q, k = jax_model.rotate(q, angles), jax_model.rotate(k, angles)
    behind = jnp.arange(x.shape[-2])[:, None] - jnp.arange(x.shape[-2])
    gamma = 1 - 2.0 ** (-5.0 - jnp.arange(config.heads))
    decay = jnp.where(behind >= 0, gamma[:, None, None] ** jnp.maximum(behind, 0), 0.0).astype(x.dtype)
    y = (jnp.einsum("...hqc,...hkc->...hqk", q, k) * config.attention_scale * decay) @ v
    y = y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + config.norm_eps)
    y = jnp.swapaxes(y, -3, -2).reshape(x.shape)
    return jax_model.linear(p["o"], jax.nn.silu(jax_model.linear(p["gate"], x)) * y)


def retnet(params: dict, config: ModelConfig, h: Float[Array, "B T d"]) -> Float[Array, "B T d"]:
    angles = jnp.arange(h.shape[-2])[:, None] * jnp.asarray(config.frequencies)
    for layer, p in enumerate(params["layers"]):
        h = h + retention(p, config, jax_model.normalise(p["attention_norm"], config, h), angles)
        h = h + jax_model.feed_forward(p, config, layer, jax_model.normalise(p["ffn_norm"], config, h), jax_model.NONE)
    return jax_model.normalise(params["final_norm"], config, h)


# ---- the whole model ----


def init_linear(key: PRNGKeyArray, into: int, out: int) -> dict:
    """torch's default: uniform in +-1/sqrt(into)."""
    key_weight, key_bias = jax.random.split(key)
    bound = into**-0.5
    return {
        "weight": jax.random.uniform(key_weight, (out, into), minval=-bound, maxval=bound),
        "bias": jax.random.uniform(key_bias, (out,), minval=-bound, maxval=bound),
    }


def xavier(key: PRNGKeyArray, params: dict) -> dict:
    """All matrices drawn anew from N(0, 2 / (in + out)); biases and norms as they are."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        structure, [jax.random.normal(k, p.shape) * (2 / sum(p.shape)) ** 0.5 if p.ndim == 2 else p for k, p in zip(keys, leaves, strict=True)]
    )


def init_params(key: PRNGKeyArray, net: Network, task: Task) -> dict:
    """Backbone, read-in and read-out (lists of linear maps with ReLU between them)."""
    key_backbone, key_xavier, *keys = jax.random.split(key, 6)
    if net.backbone == "lstm":
        backbone = init_lstm(key_backbone, net)
    else:
        backbone = xavier(key_xavier, jax_model.init(key_backbone, transformer_config(net, task)))
    if net.backbone == "retnet":
        for k, p in zip(jax.random.split(key_backbone, net.layers), backbone["layers"], strict=True):
            p["gate"] = init_linear(k, net.width, net.width)
    hidden = [FROZEN_HIDDEN] if net.backbone == "frozen" else []
    into, out = [task.n, *hidden, net.width], [net.width, *hidden, 1]
    read_in = [init_linear(k, a, b) for k, a, b in zip(keys[:2], into[:-1], into[1:], strict=False)]
    read_out = [init_linear(k, a, b) for k, a, b in zip(keys[2:], out[:-1], out[1:], strict=False)]
    return {"read_in": read_in, "backbone": backbone, "read_out": read_out}


def tokens(x: Float[Array, "B m n"], y: Float[Array, "B m"]) -> Float[Array, "B T n"]:
    """x_1, (y_1, 0, .., 0), x_2, ..."""
    labels = jnp.zeros_like(x).at[..., 0].set(y)
    return jnp.stack([x, labels], axis=2).reshape(len(x), -1, x.shape[-1])


def through(maps: list[dict], h: Float[Array, "... into"]) -> Float[Array, "... out"]:
    for p in maps[:-1]:
        h = jax.nn.relu(jax_model.linear(p, h))
    return jax_model.linear(maps[-1], h)


def logits(params: dict, net: Network, task: Task, x: Float[Array, "B m n"], y: Float[Array, "B m"]) -> Float[Array, "B m"]:
    """The model's logit of y_k = +1 at every x_k."""
    params = jax_model.cast(params, net.precision)
    h = through(params["read_in"], tokens(x, y).astype(net.precision))
    if net.backbone == "lstm":
        h = lstm(params["backbone"], h)
    elif net.backbone == "retnet":
        h = retnet(params["backbone"], transformer_config(net, task), h)
    else:
        backbone = jax.lax.stop_gradient(params["backbone"]) if net.backbone == "frozen" else params["backbone"]
        h = jax_model.last_hidden_state(backbone, transformer_config(net, task), h)
    return through(params["read_out"], h[:, ::2])[..., 0].astype(jnp.float32)


def loss(params: dict, net: Network, task: Task, prompts: Prompts) -> Float[Array, ""]:
    """-log sigmoid(y_k logit_k), averaged over the positions from ``task.start`` on."""
    return jax.nn.softplus(-prompts.y * logits(params, net, task, prompts.x, prompts.y))[:, task.start :].mean()


def neighbour_attention(params: dict, net: Network, task: Task, prompts: Prompts) -> Float[Array, "layers H m"]:
    """Share of the attention of x_k that falls on the label of its nearest earlier point, for each head and position k."""
    h = through(params["read_in"], tokens(prompts.x, prompts.y))
    patterns = jax_model.attention_patterns(params["backbone"], transformer_config(net, task), h)[..., ::2, :]  # (layers, B, H, m, T)
    label_at = 2 * nearest(prompts.x) + 1  # (B, m)
    share = jnp.take_along_axis(patterns, label_at[None, :, None, :, None], axis=-1)[..., 0]
    return share.mean(1).at[..., 0].set(0.0)  # the first point has no neighbour


# ---- training: one run; many are mapped over (shared.optim.many) ----


class State(NamedTuple):
    params: dict
    moments: optax.ScaleByAdamState


class Data(NamedTuple):
    key: PRNGKeyArray
    """Of the stream of training prompts."""
    tests: Prompts
    lr: Float[Array, ""]


class Course(NamedTuple):
    """How long and on how much a network is trained."""

    steps: int
    batch: int
    warm_up: int
    """Steps in which the step size grows from 0."""
    final: float
    """Step size at the end as a share of the largest, reached on a line."""


ADAM = optax.scale_by_adam()


def init_state(key: PRNGKeyArray, net: Network, task: Task) -> State:
    params = init_params(key, net, task)
    return State(params, ADAM.init(params))


@functools.partial(jax.jit, static_argnums=(1, 2))
def init_states(keys: PRNGKeyArray, net: Network, task: Task) -> State:
    """One run for each key, leaves (runs, ...)."""
    return jax.vmap(lambda key: init_state(key, net, task))(keys)


def step_size(course: Course, t: Int[Array, ""]) -> Float[Array, ""]:
    """Share of the largest step size at step t = 0, 1, ..."""
    return jnp.minimum(1.0, (t + 1) / max(course.warm_up, 1)) * (1 - (1 - course.final) * t / course.steps)


@functools.cache
def training_step(net: Network, task: Task, course: Course):
    """``step(state, t, data)``: Adam on a fresh batch of prompts."""

    def step(state: State, t: Int[Array, ""], data: Data) -> State:
        prompts = draw_prompts(jax.random.fold_in(data.key, t), task, course.batch)
        grad = jax.grad(loss)(state.params, net, task, prompts)
        direction, moments = ADAM.update(grad, state.moments)
        rate = data.lr * step_size(course, t)
        return State(jax.tree.map(lambda p, u: p - rate * u, state.params, direction), moments)

    return step


@functools.cache
def measurement(net: Network, task: Task):
    """``measure(state, data)``: accuracy at each position of the test prompts, and around the end of teaching sequences."""

    def measure(state: State, data: Data) -> dict[str, Array]:
        scores = logits(state.params, net, task, data.tests.x, data.tests.y)
        return accuracies(scores, task, data.tests)

    return measure


def accuracies(scores: Float[Array, "B m"], task: Task, tests: Prompts) -> dict[str, Float[Array, " m"]]:
    """Accuracy at each position; of a teaching task, whose first half of prompts is taught and whose second half is its vanilla twin, for each half."""
    if task.name not in TAUGHT:
        return {"accuracy": accuracy(scores, tests.y)}
    half = len(scores) // 2
    t = tests.taught[:half, None]
    after = jnp.minimum(t + jnp.arange(AFTER), task.m - 1)  # positions t+1, t+2, .. of the paper, which counts from 1
    found = {}
    for kind, rows in (("taught", slice(None, half)), ("vanilla", slice(half, None))):
        found[kind] = accuracy(scores[rows], tests.y[rows])
        found[f"{kind}_after"] = accuracy(*(jnp.take_along_axis(a[rows], after, axis=1) for a in (scores, tests.y)))
    return found
