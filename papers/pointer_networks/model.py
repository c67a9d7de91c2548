"""The pointer network and its two sequence-to-sequence baselines, for one instance; ``jax.vmap`` makes batches of them.

An instance is a sequence P of n planar points padded to N rows. A model answers with *slots*: slot 0 is the stop symbol (the paper's <=), slot j is point P_j.

    kind         slot scores at step i, from the decoder state d_i                    reads inputs of
    "ptr"        u^i_j = v . tanh(W1 e_j + W2 d_i)                          (Sec. 2.3)   any size
    "attention"  d'_i = sum_j softmax(u^i)_j e_j, then W_out [d_i; d'_i]    (Sec. 2.2)   the size that it was built for
    "lstm"       W_out d_i                                                  (Sec. 2.1)   the size that it was built for

The three share everything else: the encoder LSTM, the decoder LSTM and the coordinates of the last chosen point as the decoder's next input.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

KINDS = ("ptr", "attention", "lstm")


def init(rng: np.random.Generator, kind: str, hidden: int, slots: int, scale: float = 0.08) -> dict:
    """All weights uniform in [-scale, scale], as in the paper. ``slots`` is the size of the baselines' fixed output dictionary {stop, 1..n}."""
    H, context = hidden, hidden if kind == "attention" else 0
    shapes = {
        "encoder": {"W_x": (2, 4 * H), "W_h": (H, 4 * H), "b": (4 * H,)},
        "decoder": {"W_x": (2 + context, 4 * H), "W_h": (H, 4 * H), "b": (4 * H,)},
        "start": (2,),  # the paper's =>, the decoder's first input
    }
    if kind != "lstm":
        shapes |= {"W1": (H, H), "W2": (H, H), "v": (H,)}
    if kind == "ptr":
        shapes |= {"e_0": (H,)}  # stands for the stop symbol among the encoder states
    else:
        shapes |= {"W_out": (H + context, slots), "b_out": (slots,)}
    return jax.tree.map(lambda shape: rng.uniform(-scale, scale, shape).astype(np.float32), shapes, is_leaf=lambda node: isinstance(node, tuple))


def lstm_step(w: dict, state: tuple[Float[Array, " H"], Float[Array, " H"]], x: Float[Array, " d"]) -> tuple[Float[Array, " H"], Float[Array, " H"]]:
    """One LSTM step, state (h, c): gates i, f, g, o stacked in this order; c' = f c + i g, h' = o tanh(c')."""
    h, c = state
    i, f, g, o = jnp.split(x @ w["W_x"] + h @ w["W_h"] + w["b"], 4)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def encode(w: dict, points: Float[Array, "N 2"], n: Int[Array, ""]) -> tuple[Float[Array, "N H"], tuple]:
    """Encoder states e_1..e_N, and the final state (h, c), which is that after point n: padding leaves the state as it is."""
    zero = jnp.zeros(w["encoder"]["W_h"].shape[0])

    def step(state, inputs):
        x, is_point = inputs
        state = jax.tree.map(lambda new, old: jnp.where(is_point, new, old), lstm_step(w["encoder"], state, x), state)
        return state, state[0]

    final, e = jax.lax.scan(step, (zero, zero), (points, jnp.arange(len(points)) < n))
    return e, final


def pointer_scores(w: dict, W1_e: Float[Array, "K H"], d: Float[Array, " H"], valid: Bool[Array, " K"]) -> Float[Array, " K"]:
    """u_j = v . tanh(W1 e_j + W2 d) (Sec. 2.3), -inf where slot j is padding."""
    return jnp.where(valid, jnp.tanh(W1_e + d @ w["W2"]) @ w["v"], -jnp.inf)


def open_decoder(kind: str, w: dict, points: Float[Array, "N 2"], n: Int[Array, ""]) -> tuple[dict, tuple]:
    """Read the points. Returns what every decoder step looks at (``memory``) and the decoder's first state (h, c, context)."""
    e, (h, c) = encode(w, points, n)
    if kind == "ptr":
        e = jnp.concatenate([w["e_0"][None], e])  # (N + 1, H), one row per slot
        valid = jnp.arange(len(e)) <= n
    else:
        valid = jnp.arange(len(e)) < n
    memory = {"e": e, "valid": valid}
    if kind != "lstm":
        memory["W1_e"] = e @ w["W1"]
    return memory, (h, c, jnp.zeros(len(h) if kind == "attention" else 0))


def decoder_step(kind: str, w: dict, memory: dict, state: tuple, x: Float[Array, " 2"]) -> tuple[tuple, Float[Array, " slots"]]:
    """One decoder step on the coordinates x of the last chosen point. Returns the state and log p(C_i = slot | C_<i, P).

    With attention the pair [d_i; d'_i] both makes the prediction and feeds the next step; the other two models have an empty context.
    """
    h, c, context = state
    d, c = lstm_step(w["decoder"], (h, c), jnp.concatenate([x, context]))
    if kind == "ptr":
        logits = pointer_scores(w, memory["W1_e"], d, memory["valid"])
    else:
        if kind == "attention":
            context = jax.nn.softmax(pointer_scores(w, memory["W1_e"], d, memory["valid"])) @ memory["e"]
        logits = jnp.concatenate([d, context]) @ w["W_out"] + w["b_out"]
    return (d, c, context), jax.nn.log_softmax(logits)


def log_likelihood(kind: str, w: dict, points: Float[Array, "N 2"], n: Int[Array, ""], target: Int[Array, " M"]) -> Float[Array, " M"]:
    """log p(C_i | C_1..C_{i-1}, P) for each step, by teacher forcing; 0 where the target is padding (-1)."""
    memory, state = open_decoder(kind, w, points, n)
    inputs = jnp.concatenate([w["start"][None], points[target[:-1] - 1]])  # after C_1..C_{i-1}, the coordinates of C_{i-1}
    _, log_p = jax.lax.scan(lambda state, x: decoder_step(kind, w, memory, state, x), state, inputs)  # (M, slots)
    chosen = jnp.take_along_axis(log_p, jnp.maximum(target, 0)[:, None], axis=1)[:, 0]
    return jnp.where(target >= 0, chosen, 0.0)


def greedy(kind: str, w: dict, points: Float[Array, "N 2"], n: Int[Array, ""], steps: int) -> Int[Array, " steps"]:
    """The most probable slot at each of ``steps`` steps; 0 from the first stop symbol on."""
    memory, state = open_decoder(kind, w, points, n)

    def step(carry, _):
        state, x, stopped = carry
        state, log_p = decoder_step(kind, w, memory, state, x)
        slot = jnp.where(stopped, 0, jnp.argmax(log_p))
        return (state, points[slot - 1], slot == 0), slot

    _, slots = jax.lax.scan(step, (state, w["start"], False), length=steps)
    return slots


def beam_search(w: dict, points: Float[Array, "n 2"], width: int) -> Int[Array, " n"]:
    """The most probable tour that a pointer network's beam finds: starts at city 1, visits each of the n cities once (no padding here)."""
    n = len(points)
    memory, state = open_decoder("ptr", w, points, jnp.asarray(n))
    step_all = jax.vmap(lambda state, x: decoder_step("ptr", w, memory, state, x))

    state, _ = step_all(jax.tree.map(lambda a: jnp.tile(a, (width, 1)), state), jnp.tile(w["start"], (width, 1)))
    tours = jnp.zeros((width, n), int).at[:, 0].set(1)
    score = jnp.full(width, -jnp.inf).at[0].set(0.0)  # log p of each tour so far; at first all are the same tour, so all but one are out
    visited = jnp.zeros((width, n + 1), bool).at[:, jnp.array([0, 1])].set(True)  # the stop symbol is no city

    def step(carry, i):
        state, tours, score, visited = carry
        state, log_p = step_all(state, points[tours[:, i - 1] - 1])
        score, best = jax.lax.top_k((score[:, None] + jnp.where(visited, -jnp.inf, log_p)).ravel(), width)
        parent, city = best // (n + 1), best % (n + 1)
        state, tours, visited = jax.tree.map(lambda a: a[parent], (state, tours, visited))
        return (state, tours.at[:, i].set(city), score, visited.at[jnp.arange(width), city].set(True)), None

    (_, tours, _, _), _ = jax.lax.scan(step, (state, tours, score, visited), jnp.arange(1, n))
    return tours[0]
