"""What can be put on a transformer's way in JAX: LoRA, adapters, prefixes, steering vectors, input noise. All pass through the one argument ``inject``.

An injection is a dictionary ``(layer, site) -> function(value, source) -> value``, and the sites are

    input_embedding          token vectors before positions are added (layer 0)
    q k v o gate up down     a linear map's output; ``source`` is its input
    prefix                   the pair (keys, values), each (..., kv_heads, slots, head_width), rotated already; may come back longer, with the new keys in front
    attention                the attention's weights (..., kv_heads, queries per key head, length, slots); in JAX alone, torch fuses them away
    after_attention          a sublayer's output before it is added to the residual stream, so that a vector added here is added to the stream;
    after_ffn                ``source`` is the sublayer's input

``*_init`` draws trainable parameters, a dictionary with the same keys (layer, site); the function of the same name turns them into an injection:

    tuned = lora_init(key, config, rank=4)
    loss = lambda tuned: f(logits(params, config, ids, inject=lora(tuned, alpha=8)))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from shared.lms.config import ModelConfig, parameter_shapes

Injections = dict[tuple[int, str], Callable]
Trainable = dict[tuple[int, str], dict[str, Array]]


def places(config: ModelConfig, sites: Sequence[str], layers: Iterable[int] | None) -> list[tuple[int, str]]:
    """All (layer, site) of the chosen layers, all layers for None."""
    return [(layer, site) for layer in (range(config.layers) if layers is None else layers) for site in sites]


def lora_init(key: PRNGKeyArray, config: ModelConfig, rank: int, sites: Sequence[str] = ("q", "v"), layers: Iterable[int] | None = None) -> Trainable:
    """A (rank, in) from Normal(0, 1/in), B (out, rank) zero, for each chosen linear map: nothing changes before training (Hu et al. 2022)."""
    shapes, chosen = parameter_shapes(config), places(config, sites, layers)
    tuned = {}
    for place, own in zip(chosen, jax.random.split(key, len(chosen)), strict=True):
        out, into = shapes["layers.{}.{}.weight".format(*place)]
        tuned[place] = {"a": jax.random.normal(own, (rank, into)) / math.sqrt(into), "b": jnp.zeros((out, rank))}
    return tuned


def lora(tuned: Trainable, alpha: float) -> Injections:
    """W x + (alpha / rank) B A x."""
    return {place: lambda value, source, p=p: value + alpha / len(p["a"]) * (source @ p["a"].T) @ p["b"].T for place, p in tuned.items()}


def merge_lora(params: dict, tuned: Trainable, alpha: float) -> dict:
    """The model with W + (alpha / rank) B A in place of W, which computes the same without injection."""
    layers = [dict(layer) for layer in params["layers"]]
    for (layer, site), p in tuned.items():
        matrix = layers[layer][site]
        layers[layer][site] = matrix | {"weight": matrix["weight"] + alpha / len(p["a"]) * p["b"] @ p["a"]}
    return params | {"layers": layers}


def adapter_init(
    key: PRNGKeyArray, config: ModelConfig, bottleneck: int, sites: Sequence[str] = ("after_attention", "after_ffn"), layers: Iterable[int] | None = None
) -> Trainable:
    """Down (bottleneck, width) from Normal(0, 1/width), up (width, bottleneck) and biases zero: nothing changes before training (Houlsby et al. 2019)."""
    chosen, tuned = places(config, sites, layers), {}
    for place, own in zip(chosen, jax.random.split(key, len(chosen)), strict=True):
        down = jax.random.normal(own, (bottleneck, config.width)) / math.sqrt(config.width)
        tuned[place] = {"down": down, "down_bias": jnp.zeros(bottleneck), "up": jnp.zeros((config.width, bottleneck)), "up_bias": jnp.zeros(config.width)}
    return tuned


def adapter(tuned: Trainable) -> Injections:
    """y + U gelu(D y + d) + u, on a sublayer's output y."""
    return {
        place: lambda value, source, p=p: value + jax.nn.gelu(value @ p["down"].T + p["down_bias"], approximate=False) @ p["up"].T + p["up_bias"]
        for place, p in tuned.items()
    }


def prefix_init(key: PRNGKeyArray, config: ModelConfig, length: int, layers: Iterable[int] | None = None) -> Trainable:
    """``length`` keys and values of each head and layer from Normal(0, 0.02) (Li and Liang 2021, without their reparametrisation)."""
    chosen, tuned = places(config, ("prefix",), layers), {}
    for place, own in zip(chosen, jax.random.split(key, len(chosen)), strict=True):
        k, v = 0.02 * jax.random.normal(own, (2, config.kv_heads, length, config.head_width))
        tuned[place] = {"k": k, "v": v}
    return tuned


def prefix(tuned: Trainable) -> Injections:
    """Keys and values that every query sees before those of the text. Their positions are as they were made; the text's are not moved."""

    def lengthen(own: Array, given: Array) -> Array:
        return jnp.concatenate([jnp.broadcast_to(own, (*given.shape[:-3], *own.shape[-3:])), given], axis=-2)

    return {place: lambda value, source, p=p: (lengthen(p["k"], value[0]), lengthen(p["v"], value[1])) for place, p in tuned.items()}


def steering(layer: int, vector: Float[Array, "*batch width"], site: str = "after_ffn") -> Injections:
    """Add ``vector`` to the residual stream at every position."""
    return {(layer, site): lambda value, source: value + vector}


def input_noise(key: PRNGKeyArray, alpha: float) -> Injections:
    """Uniform noise of scale alpha / sqrt(length width) on the token vectors (NEFTune, Jain et al. 2024); a fresh key for every step."""

    def noisy(value: Array, source: Array) -> Array:
        length, width = value.shape[-2:]
        return value + alpha / math.sqrt(length * width) * jax.random.uniform(key, value.shape, minval=-1, maxval=1)

    return {(0, "input_embedding"): noisy}


def together(*injections: Injections) -> Injections:
    """All of them; those at one site act in the order given."""
    joined: Injections = {}
    for place, function in ((place, function) for injection in injections for place, function in injection.items()):
        first = joined.get(place)
        joined[place] = function if first is None else lambda value, source, first=first, then=function: then(first(value, source), source)
    return joined
