"""The fast algorithm against the exact one over n, and over B at the degree that B asks for; both against plain NumPy.

Plain NumPy forms every monomial of the fast algorithm as a product of powers, and takes the exact one query by query.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from math import comb

import jax
import numpy as np

from papers.tensor_attention.model import (
    chebyshev_coefficients,
    chebyshev_relative_error,
    error_guarantee,
    exact_attention,
    expansion,
    exponents,
    fast_attention,
    taylor_coefficients,
)
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


def least_degree(n: int, B: float) -> int:
    """The least even degree that guarantees an error below 1/n^2."""
    for g in count(2, 2):
        eps = chebyshev_relative_error(g, B**3)
        if eps < 1 and error_guarantee(eps, B) < n**-2:
            return g


def drawn(n: int, B: float):
    with jax.enable_x64(True):
        return draw(np.random.default_rng(0), "uniform", B, n, D)


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain)."""
    pairs = {}
    for n in (16, 64, 256):
        inputs = drawn(n, 1.0)
        fast = partial(fast_attention, p=taylor_coefficients(G), block=min(n, 256))
        exact = partial(exact_attention, tile=min(n, 64))
        pairs[f"fast against exact, B = 1, g = {G}, n = {n}"] = (partial(in_double, fast, inputs), partial(in_double, exact, inputs))
    n = 512
    for B in (0.5, 1.0, 1.5, 2.0):
        inputs, g = drawn(n, B), least_degree(n, B)
        fast = partial(fast_attention, p=chebyshev_coefficients(g, B**3))
        name = f"fast with error below 1/n^2 against exact, n = {n}, B = {B:g}, g = {g}, rank {comb(D + g, g)}"
        pairs[name] = (partial(in_double, fast, inputs), partial(in_double, partial(exact_attention, tile=64), inputs))
    for name, n, ours, plain in (
        ("fast", N_FAST, partial(fast_attention, p=taylor_coefficients(G)), numpy_fast),
        ("exact", N_EXACT, partial(exact_attention, tile=64), numpy_exact),
    ):
        inputs = drawn(n, 1.0)
        as_numpy = jax.tree.map(np.asarray, inputs)
        pairs[f"{name} attention against NumPy, n = {n}"] = (partial(in_double, ours, inputs), partial(plain, *as_numpy))
    return pairs
