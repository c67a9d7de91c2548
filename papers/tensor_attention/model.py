"""Attention of any order k, exactly and by the polynomial method.

Order 2 is matrix attention; at order 3 every query attends to pairs of tokens. With keys K_1..K_{k-1} and values V_1..V_{k-1},

    A_{i,(j_1..j_{k-1})} = exp(s sum_l Q_{i,l} K_{1;j_1,l} ... K_{k-1;j_{k-1},l}),    s = 1/d,
    output_i = sum_j A_{i,j} (V_{1;j_1} * ... * V_{k-1;j_{k-1}}) / sum_j A_{i,j},     * entrywise,

which for k = 3 is the paper's D^-1 exp(Q (K_1 (x) K_2)^T / d) (V_1 (x) V_2). `exact_attention` takes time n^k. `fast_attention` replaces exp by a polynomial of
degree g, whose monomials factorise over the tokens of a tuple; A has rank r = C(d + g, g) then, and the time is n r d.

The attention functions are JAX and work in the precision of their arguments; the experiments on errors call them in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from itertools import accumulate
from math import factorial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial.chebyshev import cheb2poly
from scipy.special import iv

TOKENS = "abcdefgh"
"""Letters of an einsum for the tokens j_1, j_2, ... of a tuple."""


# The straightforward algorithm


@partial(jax.jit, static_argnames="tile")
def exact_attention(
    Q: Float[Array, "m d"],
    keys: Sequence[Float[Array, "n d"]],
    values: Sequence[Float[Array, "n c"]],
    scale: float | None = None,
    tile: int | None = None,
) -> Float[Array, "m c"]:
    """Attention by its definition: for each query, all n^(k-1) weights.

    ``scale`` is s, by default 1/d. ``tile`` tokens j_1 (a divisor of n; by default all) are treated at a time, so that tile * n^(k-2) weights are in memory.
    A tile is weighed relative to its largest logit, lest exp overflow, and tiles are put together with weights exp(largest of the tile - largest of all).
    """
    n, d = keys[0].shape
    s = 1 / d if scale is None else scale
    tile = tile or n
    j = TOKENS[: len(keys)]
    logits_of = ",".join(f"{letter}y" for letter in j) + "->" + j  # order 3: ay,by->ab
    weighted_sum = j + "," + ",".join(f"{letter}z" for letter in j) + "->z"  # order 3: ab,az,bz->z

    def one_query(q):
        def one_tile(first):
            K_1, V_1 = first
            logits = jnp.einsum(logits_of, s * q * K_1, *keys[1:])
            largest = logits.max()
            A = jnp.exp(logits - largest)
            return largest, jnp.einsum(weighted_sum, A, V_1, *values[1:]), A.sum()

        largest, numerators, denominators = jax.lax.map(one_tile, (keys[0].reshape(n // tile, tile, d), values[0].reshape(n // tile, tile, -1)))
        weight = jnp.exp(largest - largest.max())  # (tiles,)
        return weight @ numerators / (weight @ denominators)

    return jax.lax.map(one_query, Q)


# Polynomials for exp


def taylor_coefficients(g: int) -> np.ndarray:
    """p_0..p_g of the Taylor polynomial of exp: p_k = 1/k!."""
    return np.array([1 / factorial(k) for k in range(g + 1)])


def chebyshev_coefficients(g: int, R: float) -> np.ndarray:
    """p_0..p_g, in powers of x, of the Chebyshev series of exp on [-R, R] cut after degree g: I_0(R) + 2 sum_{0<k<=g} I_k(R) T_k(x/R)."""
    series = 2 * iv(np.arange(g + 1), R)
    series[0] /= 2
    return cheb2poly(series) / R ** np.arange(g + 1.0)


def chebyshev_relative_error(g: int, R: float) -> float:
    """max over [-R, R] of |P(x) - e^x| / e^x for the Chebyshev polynomial P of degree g.

    Summed from the terms that P leaves out, 2 sum_{k>g} I_k(R) T_k(x/R), and so exact where P(x) - e^x would cancel (R > 15 in double precision).
    """
    angle = np.linspace(0, np.pi, 401)
    k = np.arange(g + 1, g + 200)
    rest = np.cos(np.outer(angle, k)) @ (2 * iv(k, R))
    return float(np.max(np.abs(rest) * np.exp(-R * np.cos(angle))))


def error_guarantee(eps: float, B: float, order: int = 3) -> float:
    """Bound on |T - exact| when |P(x) - e^x| <= eps e^x, eps < 1, at all logits, and the entries of the values are at most B.

    With A~ = A (1 + delta), |delta| <= eps, and v_j the product of the values of a tuple, T_i - exact_i = sum_j A_ij delta_ij (v_j - exact_i) / sum_j A~_ij,
    because sum_j A_ij (v_j - exact_i) = 0. The numerator is at most 2 B^(k-1) eps sum_j A_ij, the denominator at least (1 - eps) sum_j A_ij.
    """
    return 2 * eps / (1 - eps) * B ** (order - 1)


@cache
def degree_needed(R: float, eps: float) -> int:
    """The least g whose Chebyshev polynomial is within relative error ``eps`` of exp on [-R, R]."""
    g = 0
    while chebyshev_relative_error(g, R) > eps:
        g += 1
    return g


# The fast algorithm


def recursion(d: int, g: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """How the monomials of each degree 2..g in d variables arise from those one degree below: (indices of their parents, variables that multiply them).

    x_l multiplies only monomials in x_l, ..., x_{d-1}; so each monomial arises once.
    """
    steps = []
    smallest = np.arange(d)  # smallest variable of each monomial of the degree below
    for _ in range(2, g + 1):
        parents, smallest = np.array([(parent, l) for l in range(d) for parent in np.flatnonzero(smallest >= l)]).T
        steps.append((parents, smallest))
    return steps


def exponents(d: int, g: int) -> np.ndarray:
    """All multi-indices a with |a| <= g, (r, d), in the order of `monomials`."""
    e = np.eye(d, dtype=int)
    of_degree = accumulate(recursion(d, g), lambda a, step: a[step[0]] + e[step[1]], initial=e)
    return np.concatenate([np.zeros((1, d), dtype=int), *of_degree][: g + 1])


def monomials(X: Float[Array, "n d"], g: int) -> Float[Array, "r n"]:
    """x^a for every token x and every multi-index |a| <= g, by one multiplication each."""
    x = X.T
    of_degree = accumulate(recursion(len(x), g), lambda phi, step: phi[step[0]] * x[step[1]], initial=x)
    return jnp.concatenate([jnp.ones_like(x[:1]), *of_degree][: g + 1])


def expansion(p: np.ndarray, d: int, scale: float) -> np.ndarray:
    """c_a with P(s <q, k_1 * k_2 * ...>) = sum_a c_a q^a k_1^a k_2^a ...: c_a = p_|a| s^|a| |a|!/a!; (r,)."""
    a = exponents(d, len(p) - 1)
    of = np.array([factorial(k) for k in range(len(p))], dtype=float)
    degree = a.sum(axis=1)
    return p[degree] * scale**degree * of[degree] / of[a].prod(axis=1)


def fast_attention(
    Q: Float[Array, "m d"],
    keys: Sequence[Float[Array, "n d"]],
    values: Sequence[Float[Array, "n c"]],
    p: np.ndarray,
    scale: float | None = None,
    block: int = 256,
) -> Float[Array, "m c"]:
    """Attention with exp replaced by the polynomial with coefficients ``p`` (degree g = len(p) - 1).

    With U_1 = (c_a q_i^a) and U_t = (k_t^a), A = U_1 (U_2 (x) U_3)^T, so that

        numerator = U_1 [(U_2^T V_1) * (U_3^T V_2)],    denominator = U_1 [(U_2^T 1) * (U_3^T 1)].

    Tokens pass through in blocks of ``block``, so that block * r monomials are in memory. The denominator may be negative where P is: at odd degrees, or
    where the logits leave the range on which P is near exp.
    """
    d = Q.shape[1]
    c = jnp.asarray(expansion(p, d, 1 / d if scale is None else scale), Q.dtype)
    return _fast_attention(Q, tuple(keys), tuple(values), c, len(p) - 1, block)


@partial(jax.jit, static_argnames=("g", "block"))
def _fast_attention(Q, keys, values, c, g, block):
    summary = c[:, None]  # becomes c_a prod_t (U_t^T [V_t, 1]): (r, values + 1)
    for K, V in zip(keys, values, strict=True):
        V_and_1 = jnp.pad(V, ((0, 0), (0, 1)), constant_values=1)
        zero = jnp.zeros((len(c), V_and_1.shape[1]), V.dtype)
        sums, _ = jax.lax.scan(lambda total, part: (total + monomials(part[0], g) @ part[1], None), zero, (blocks(K, block), blocks(V_and_1, block)))
        summary = summary * sums
    products = jax.lax.map(lambda q: monomials(q, g).T @ summary, blocks(Q, block)).reshape(-1, summary.shape[1])[: len(Q)]
    return products[:, :-1] / products[:, -1:]


def blocks(X: Float[Array, "n w"], size: int) -> Float[Array, "blocks size w"]:
    """Rows in blocks of ``size``, the last one filled up with zeros."""
    return jnp.pad(X, ((0, -len(X) % size), (0, 0))).reshape(-1, size, X.shape[1])
