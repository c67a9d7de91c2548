"""The two algorithms against plain NumPy: the fast one with every monomial as a product of powers, the exact one query by query."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from papers.tensor_attention.model import exact_attention, expansion, exponents, fast_attention, taylor_coefficients
from papers.tensor_attention.replicate import draw

D, G = 4, 6
N_FAST, N_EXACT = 16384, 256


def numpy_fast(Q, keys, values):
    a, c = exponents(D, G), expansion(taylor_coefficients(G), D, 1 / D)
    U_1, U_2, U_3 = (np.prod([X[:, l, None] ** a[:, l] for l in range(D)], axis=0) for X in (Q, *keys))  # (n, r)
    numerator = (c * U_1) @ ((U_2.T @ values[0]) * (U_3.T @ values[1]))
    return numerator / ((c * U_1) @ (U_2.sum(axis=0) * U_3.sum(axis=0)))[:, None]


def numpy_exact(Q, keys, values):
    output = np.empty_like(Q)
    for i, q in enumerate(Q):
        A = np.exp((q * keys[0]) @ keys[1].T / D)
        output[i] = (values[0] * (A @ values[1])).sum(axis=0) / A.sum()
    return output


def in_double(attention, inputs):
    with jax.enable_x64(True):
        return attention(*inputs).block_until_ready()


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain)."""
    pairs = {}
    for name, n, ours, plain in (
        ("fast", N_FAST, partial(fast_attention, p=taylor_coefficients(G)), numpy_fast),
        ("exact", N_EXACT, exact_attention, numpy_exact),
    ):
        with jax.enable_x64(True):
            inputs = draw(np.random.default_rng(0), "uniform", 1.0, n, D)
        as_numpy = jax.tree.map(np.asarray, inputs)
        pairs[f"{name} attention, n = {n}"] = (partial(in_double, ours, inputs), partial(plain, *as_numpy))
    return pairs
