"""The transformer in JAX: pure functions of nested parameters, for any leading batch dimensions, mapped over seeds by ``vmap``.

    params = init(jax_key(seed, "init"), decoder(width=64, layers=2, heads=4, context=128, vocab=65))
    states = hidden_states(params, config, ids)                   # (layers + 1, batch, length, width)
    scores = logits(params, config, ids)                          # (batch, length, vocab)

``inputs`` is either token ids ``(..., length)`` or inputs that the caller embedded, ``(..., length, width)``. A caller with tables of its own (random per
sequence, say) makes a model with ``vocab=0``, hands in ``table[ids]``, and reads the result with ``unembed_with(hidden, table)``.

``inject`` is a dictionary ``(layer, site) -> function(value, source) -> value`` applied on the way: the one opening for adapters, LoRA, prefixes, steering
and input noise. Sites and ready-made functions: ``inject.py``.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from shared.lms.config import ModelConfig, nest, parameter_shapes

Injections = Mapping[tuple[int, str], Callable]
NONE: Injections = {}


def init(key: PRNGKeyArray, config: ModelConfig) -> dict:
    """Normal(0, 0.02) matrices, output projections (o, down) divided by sqrt(2 layers), norms 1, biases 0.

    The layers share one draw and every table has its own, so that models which differ in their tables alone start from the same layers.
    """
    flat = {name: jnp.zeros(shape) if name.endswith("bias") else jnp.ones(shape) for name, shape in parameter_shapes(config).items()}
    matrices = [name for name in flat if not (name.endswith("bias") or "norm." in name)]
    inner = [name for name in matrices if name.startswith("layers.")]
    ends = np.cumsum([flat[name].size for name in inner])
    drawn = dict(zip(inner, jnp.split(jax.random.normal(key, (ends[-1],)), ends[:-1]), strict=True))
    drawn |= {name: jax.random.normal(jax.random.fold_in(key, zlib.crc32(name.encode())), flat[name].shape) for name in matrices if name not in drawn}
    for name, values in drawn.items():
        scale = 0.02 / math.sqrt(2 * config.layers) if name.endswith(("o.weight", "down.weight")) else 0.02
        flat[name] = scale * values.reshape(flat[name].shape)
    return nest(flat)


def linear(p: dict, x: Float[Array, "... into"]) -> Float[Array, "... out"]:
    """x W^T + b."""
    y = x @ p["weight"].T
    return y + p["bias"] if "bias" in p else y


def normalise(p: dict, config: ModelConfig, x: Float[Array, "... width"]) -> Float[Array, "... width"]:
    """RMSNorm, w x / sqrt(mean x^2 + eps); LayerNorm subtracts the mean first and adds a bias. In float32 at least, whatever the dtype of ``x``."""
    h = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if config.norm == "layer":
        h = h - h.mean(-1, keepdims=True)
    h = (h * jax.lax.rsqrt(jnp.mean(h * h, -1, keepdims=True) + config.norm_eps)).astype(x.dtype) * p["weight"]
    return h + p["bias"] if "bias" in p else h


def unchanged(p: dict, config: ModelConfig, x: Array) -> Array:
    """What stands where a model does not normalise."""
    return x


def rotate(x: Float[Array, "... heads length head_width"], angles: Float[Array, "... length pairs"]) -> Float[Array, "... heads length head_width"]:
    """Turn the pair (x_i, x_{i + head_width/2}) of each head by its angle (Llama's pairing of coordinates)."""
    cos, sin = (f(angles)[..., None, :, :].astype(x.dtype) for f in (jnp.cos, jnp.sin))
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def sinusoids(places: Int[Array, "... length"], width: int) -> Float[Array, "... length width"]:
    """sin(p / 10000^(2i/width)) and cos of the same, side by side (Vaswani et al., 2017, section 3.5)."""
    angles = places[..., None] * 10000.0 ** (-jnp.arange(0, width, 2) / width)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*places.shape, -1)[..., :width]


def distance_penalty(config: ModelConfig, length: int, slots: int, start: Int[Array, ""] | int) -> Float[Array, "kv_heads group length slots"]:
    """ALiBi: -slope |i - j| for query i and key j, to be added to the scores (Press, Smith and Lewis, 2022)."""
    distance = jnp.abs(start + jnp.arange(length)[:, None] - jnp.arange(slots))
    return -jnp.asarray(config.slopes, jnp.float32).reshape(config.kv_heads, -1, 1, 1) * distance


def visible(config: ModelConfig, layer: int, length: int, slots: int, start: Int[Array, ""] | int) -> Bool[Array, "length slots"]:
    """Which of ``slots`` keys each of ``length`` queries may see, query i standing in slot ``start + i``."""
    behind = start + jnp.arange(length)[:, None] - jnp.arange(slots)
    allowed = behind >= 0 if config.causal else jnp.ones((length, slots), bool)
    if config.windows and config.windows[layer]:
        allowed &= behind < config.windows[layer]
    return allowed


def attention(p: dict, config: ModelConfig, layer: int, x: Array, angles: Array | None, mask: Array | None, cache: dict | None, inject: Injections):
    """softmax(scale Q K^T) V W_O, on ``x`` (..., length, width). Returns the result and the cache with the new keys and values written.

    ``mask`` (..., slots) marks keys that exist (False: padding). ``cache`` holds "k", "v" (..., kv_heads, slots, head_width) and the next free slot "start".
    """

    def project(name: str, heads: int) -> Array:
        y = apply(inject, layer, name, linear(p[name], x), x)
        return jnp.swapaxes(y.reshape(*x.shape[:-1], heads, config.head_width), -3, -2)  # (..., heads, length, head_width)

    q, k, v = project("q", config.heads), project("k", config.kv_heads), project("v", config.kv_heads)
    if angles is not None:
        q, k = rotate(q, angles), rotate(k, angles)
    start = 0
    if cache is not None:
        start = cache["start"]
        k, v = (jax.lax.dynamic_update_slice_in_dim(cache[name], new.astype(cache[name].dtype), start, axis=-2) for name, new in (("k", k), ("v", v)))
        cache = {"k": k, "v": v, "start": start + x.shape[-2]}
    allowed = visible(config, layer, x.shape[-2], k.shape[-2], start)
    penalty = distance_penalty(config, x.shape[-2], k.shape[-2], start) if config.positions == "alibi" else 0.0
    if mask is not None:
        allowed = allowed & mask[..., None, :]  # (..., length, slots)
    k, v = apply(inject, layer, "prefix", (k, v), x)
    extra = k.shape[-2] - allowed.shape[-1]  # injected keys come first, are seen by every query and are near to all of them
    allowed = jnp.pad(allowed, [(0, 0)] * (allowed.ndim - 1) + [(extra, 0)], constant_values=True)
    penalty = jnp.pad(penalty, [(0, 0)] * 3 + [(extra, 0)]) if config.positions == "alibi" else penalty
    q = q.reshape(*q.shape[:-3], config.kv_heads, config.heads // config.kv_heads, *q.shape[-2:])
    scores = jnp.einsum("...kgqd,...ktd->...kgqt", q, k)
    scores = scores.astype(jnp.promote_types(x.dtype, jnp.float32)) * config.attention_scale + penalty
    scores = jnp.where(allowed[..., None, None, :, :], scores, jnp.finfo(scores.dtype).min)
    weights = apply(inject, layer, "attention", jax.nn.softmax(scores, axis=-1).astype(x.dtype), x)
    y = jnp.einsum("...kgqt,...ktd->...kgqd", weights, v)
    y = y.reshape(*y.shape[:-4], config.heads, *y.shape[-2:])
    y = jnp.swapaxes(y, -3, -2).reshape(*x.shape[:-1], config.heads * config.head_width)
    return apply(inject, layer, "o", linear(p["o"], y), y), cache


def feed_forward(p: dict, config: ModelConfig, layer: int, x: Array, inject: Injections) -> Array:
    """SwiGLU, W_down(silu(W_gate x) * W_up x), or W_down gelu(W_up x)."""
    up = apply(inject, layer, "up", linear(p["up"], x), x)
    if config.activation == "swiglu":
        h = jax.nn.silu(apply(inject, layer, "gate", linear(p["gate"], x), x)) * up
    else:
        h = jax.nn.gelu(up, approximate=config.activation == "gelu_tanh")
    return apply(inject, layer, "down", linear(p["down"], h), h)


def apply(inject: Injections, layer: int, site: str, value, source: Array):
    """What passes the site: ``value``, or what the injected function makes of it (``source`` is what the value was computed from)."""
    function = inject.get((layer, site))
    return value if function is None else function(value, source)


def embed(
    params: dict, config: ModelConfig, inputs: Array, token_positions: Array | None = None, segments: Array | None = None, inject: Injections = NONE
) -> Array:
    """Token vectors (or the caller's own), plus learned positions and segments where the model has them, normalised where it does so."""
    x = params["tokens"]["weight"][inputs] if jnp.issubdtype(inputs.dtype, jnp.integer) else inputs
    x = apply(inject, 0, "input_embedding", x, x)
    if config.positions == "learned":
        x = x + params["positions"]["weight"][jnp.arange(x.shape[-2]) if token_positions is None else token_positions]
    if config.positions == "sinusoidal":
        x = x + sinusoids(jnp.arange(x.shape[-2]) if token_positions is None else token_positions, config.width).astype(x.dtype)
    if config.segments:
        x = x + params["segments"]["weight"][0 if segments is None else segments]
    return normalise(params["embedding_norm"], config, x) if config.embedding_norm else x


def run(
    params: dict,
    config: ModelConfig,
    inputs: Array,
    mask: Array | None = None,
    token_positions: Array | None = None,
    segments: Array | None = None,
    cache: list[dict] | None = None,
    inject: Injections = NONE,
) -> tuple[list[Array], list[dict] | None]:
    """The residual stream before the first and after each layer (the last one normalised), and the extended cache.

    ``token_positions`` (..., length) default to 0, 1, ...; ``mask`` (..., length), or (..., slots) with a cache, is True where there is a token.
    """
    x = embed(params, config, inputs, token_positions, segments, inject)
    angles = None
    if config.positions == "rotary":
        places = jnp.arange(x.shape[-2]) if token_positions is None else token_positions
        angles = places[..., None] * jnp.asarray(config.frequencies, jnp.float32)
    before = unchanged if config.post_norm else normalise
    after = normalise if config.post_norm else unchanged
    states, caches = [x], []
    for layer, p in enumerate(params["layers"]):
        h = before(p["attention_norm"], config, x)
        y, filled = attention(p, config, layer, h, angles, mask, None if cache is None else cache[layer], inject)
        x = after(p["attention_norm"], config, x + apply(inject, layer, "after_attention", y, h))
        if config.ffn:
            h = before(p["ffn_norm"], config, x)
            x = after(p["ffn_norm"], config, x + apply(inject, layer, "after_ffn", feed_forward(p, config, layer, h, inject), h))
        states.append(x)
        caches.append(filled)
    if not config.post_norm:
        states[-1] = normalise(params["final_norm"], config, x)
    return states, None if cache is None else caches


def hidden_states(params: dict, config: ModelConfig, inputs: Array, mask: Array | None = None, **options) -> Float[Array, "states ... length width"]:
    """All layers' states, ``layers + 1`` of them: the embedded inputs first, the normalised output last."""
    return jnp.stack(run(params, config, inputs, mask, **options)[0])


def last_hidden_state(params: dict, config: ModelConfig, inputs: Array, mask: Array | None = None, **options) -> Float[Array, "... length width"]:
    """The normalised output alone."""
    return run(params, config, inputs, mask, **options)[0][-1]


def attention_patterns(params: dict, config: ModelConfig, inputs: Array, mask: Array | None = None, **options) -> Float[Array, "layers ... heads length slots"]:
    """How much each query looks at each key, in every layer and head; rows sum to one."""
    seen: list[Array] = []

    def look(weights: Array, source: Array) -> Array:
        seen.append(weights.reshape(*weights.shape[:-4], config.heads, *weights.shape[-2:]))
        return weights

    run(params, config, inputs, mask, inject={(layer, "attention"): look for layer in range(config.layers)}, **options)
    return jnp.stack(seen)


def unembed_with(hidden: Float[Array, "... length width"], table: Float[Array, "... vocab width"]) -> Float[Array, "... length vocab"]:
    """Logits against a given output table, one for all or one for each sequence."""
    return hidden @ jnp.swapaxes(table, -1, -2)


def unembed(params: dict, config: ModelConfig, hidden: Float[Array, "... length width"]) -> Float[Array, "... length vocab"]:
    """Logits of hidden states through the model's own output head."""
    head = params.get("head", {})
    if config.head_transform:
        hidden = normalise(head["norm"], config, jax.nn.gelu(linear(head["dense"], hidden), approximate=False))
    scores = unembed_with(hidden, params["tokens"]["weight"] if config.tied else head["weight"])
    return scores + head["bias"] if "bias" in head else scores


def logits(params: dict, config: ModelConfig, inputs: Array, mask: Array | None = None, positions: Int[Array, "... n"] | None = None, **options) -> Array:
    """Logits at every position, or only at the ``positions`` (..., n) of each sequence, which is what makes a loss on few positions cheap."""
    hidden = last_hidden_state(params, config, inputs, mask, **options)
    if positions is not None:
        hidden = jnp.take_along_axis(hidden, positions[..., None], axis=-2)
    return unembed(params, config, hidden)


def empty_cache(config: ModelConfig, batch: tuple[int, ...], slots: int, dtype=jnp.float32) -> list[dict]:
    """Room for ``slots`` keys and values of every layer; ``run(..., cache=...)`` fills it from the left."""
    shape = (*batch, config.kv_heads, slots, config.head_width)
    return [{"k": jnp.zeros(shape, dtype), "v": jnp.zeros(shape, dtype), "start": jnp.zeros((), jnp.int32)} for _ in range(config.layers)]


def cast(params: dict, dtype) -> dict:
    """All parameters in another float type (bfloat16 for computing on a GPU; keep the float32 master copy for the optimiser)."""
    return jax.tree.map(lambda x: x.astype(dtype), params)
