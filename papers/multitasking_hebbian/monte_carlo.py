"""Heat-bath Monte Carlo of a Hopfield-type network whose couplings have few rows: J = scale * A^T A, without its diagonal.

All the spins know of each other is f = A s, F numbers. A sweep visits the sites block by block; the spins of a block are drawn afresh from their fields,
then f is brought up to date. The sites of a random network are exchangeable, so that consecutive sites are as good as random ones. With one
spin a block this is exact sequential heat-bath dynamics; with N / 10 it differs by the spins of one block not yet seeing each other's moves, which at low
load changes no field by more than the tenth of a sweep. The two functions at the end run many replicas side by side, each with its own network.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class State(NamedTuple):
    s: jax.Array
    """Spins by block, (B, N / B)."""
    f: jax.Array
    """A s, (F,)."""


def in_blocks(A: jax.Array, blocks: int) -> jax.Array:
    """(F, N) -> (B, F, N / B)."""
    F, N = A.shape
    return A.reshape(F, blocks, N // blocks).swapaxes(0, 1)


def initial_state(A: jax.Array, s: jax.Array, blocks: int) -> State:
    return State(s.reshape(blocks, -1), A @ s)


def sweep(state: State, A: jax.Array, noise: jax.Array) -> State:
    """Update every block once: s = sign(h / scale + noise) with h_i / scale = sum_f A_fi f_f - (sum_f A_fi^2) s_i; where that is zero the spin stays.

    A (B, F, N/B); noise (B, N/B). Logistic noise of scale T / 2 (in units of h) makes this P(s_i = +1) = 1 / (1 + exp(-2 h_i / T)), none is T = 0.
    """

    def update(f, block):
        s, A, noise = block
        push = (A * f[:, None]).sum(axis=0) - (A**2).sum(axis=0) * s + noise
        moved = jnp.where(push == 0, s, jnp.sign(push))
        return f + (A * (moved - s)).sum(axis=1), moved

    f, s = jax.lax.scan(update, state.f, (state.s, A, noise))
    return State(s, f)


def heat_bath(key: jax.Array, A: jax.Array, scale: float, s: jax.Array, T: float, sweeps: int, blocks: int) -> tuple[jax.Array, jax.Array]:
    """So many sweeps at temperature T from the spins s (N,): the last spins (N,), and A s after every sweep, (sweeps, F)."""
    blocked = in_blocks(A, blocks)

    def one(state, key):
        state = sweep(state, blocked, T / (2 * scale) * jax.random.logistic(key, state.s.shape))
        return state, state.f

    state, trace = jax.lax.scan(one, initial_state(A, s, blocks), jax.random.split(key, sweeps))
    return state.s.reshape(-1), trace


def quench(A: jax.Array, s: jax.Array, limit: int, blocks: int) -> tuple[jax.Array, jax.Array]:
    """Sweeps at T = 0 until no spin changes: the last spins (N,), and the number of sweeps taken (``limit`` when it was cut short)."""
    blocked = in_blocks(A, blocks)

    def moving(carry):
        _, changed, taken = carry
        return changed & (taken < limit)

    def one(carry):
        state, _, taken = carry
        after = sweep(state, blocked, jnp.zeros_like(state.s))
        return after, (after.s != state.s).any(), taken + 1

    state, _, taken = jax.lax.while_loop(moving, one, (initial_state(A, s, blocks), True, 0))
    return state.s.reshape(-1), taken


def heat_bath_many(keys: jax.Array, A: np.ndarray, scale: float, s: np.ndarray, T: float, sweeps: int, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Replicas with keys (R,), rows A (R, F, N) and starts s (R, N): last spins (R, N), and A s after every sweep (R, sweeps, F)."""
    return jax.device_get(_heat_bath_many(keys, A, scale, s, T, sweeps, blocks))


def quench_many(A: np.ndarray, s: np.ndarray, limit: int, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Replicas with rows A (R, F, N) and starts s (R, N): the spins where each one stops (R, N), and after how many sweeps (R,)."""
    return jax.device_get(_quench_many(A, s, limit, blocks))


@functools.partial(jax.jit, static_argnums=(5, 6))
def _heat_bath_many(keys, A, scale, s, T, sweeps, blocks):
    return jax.vmap(lambda key, A, s: heat_bath(key, A, scale, s, T, sweeps, blocks))(keys, A, s)


@functools.partial(jax.jit, static_argnums=3)
def _quench_many(A, s, limit, blocks):
    return jax.vmap(lambda A, s: quench(A, s, limit, blocks))(A, s)
