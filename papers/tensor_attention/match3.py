"""Match3, a task about triples of tokens, and an order-3 attention layer that solves it without training.

For tokens x_1..x_n in {0, ..., M-1}: y_i = 1 when x_i + x_{j_1} + x_{j_2} = 0 mod M for some j_1 and j_2. Any of i, j_1 and j_2 may coincide.
Sanford, Hsu and Telgarsky (2023) show that no matrix-attention layer of moderate size computes it; the paper cites this as what order 3 is for.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from papers.tensor_attention.model import exact_attention


def match3(x: Int[Array, "... n"], M: int) -> Bool[Array, "... n"]:
    """y, for token sequences along the last axis; NumPy or JAX."""
    sums = x[..., :, None, None] + x[..., None, :, None] + x[..., None, None, :]
    return (sums % M == 0).any((-2, -1))


def match3_of_two(x: Int[Array, "... n"], M: int) -> Bool[Array, "... n"]:
    """Where at most two different places make a match: x_i + 2 x_j = 0 or 2 x_i + x_j = 0 mod M. Matrix attention can see these."""
    one, other = x[..., :, None], x[..., None, :]
    return (((one + 2 * other) % M == 0) | ((2 * one + other) % M == 0)).any(-1)


def full_beta(M: int, n: int) -> float:
    """M^2 log(n^2): makes one exact match outweigh n^2 nearest misses, whose cosine is lower by about 2 pi^2 / M^2."""
    return M**2 * np.log(n**2)


def match3_by_attention(x: Int[Array, " n"], M: int | Int[Array, ""], beta: float | Float[Array, ""]) -> Bool[Array, " n"]:
    """One head of order 3 with d = 4. With angles a, b, c = 2 pi x / M of the query and of the pair, its logit is

        beta cos(a + b + c) = beta <(cos a, -cos a, -sin a, -sin a), (cos b, sin b, cos b, sin b) * (cos c, sin c, sin c, cos c)>,

    and its four value channels give the attended means of cos(b + c) and sin(b + c), from which the mean of cos(a + b + c) follows. It is 1 at an exact match
    and cos(2 pi / M) at a nearest miss; the answer is yes above the midpoint. ``beta`` large makes the entries of Q, K_1, K_2 about beta^(1/3).
    """
    angle = 2 * jnp.pi * x / M
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    Q = jnp.stack([cos, -cos, -sin, -sin], axis=1)
    K_1 = jnp.stack([cos, sin, cos, sin], axis=1)
    K_2 = jnp.stack([cos, sin, sin, cos], axis=1)
    coscos, sinsin, cossin, sincos = exact_attention(Q, (K_1, K_2), (K_1, K_2), scale=beta).T
    mean = cos * (coscos - sinsin) - sin * (cossin + sincos)
    return mean > (1 + jnp.cos(2 * jnp.pi / M)) / 2


def entry_bound(beta: float, d: int = 4) -> float:
    """The bound B on the entries when beta is shared evenly among Q, K_1 and K_2 and logits are divided by d: B^3 / d = beta."""
    return (d * beta) ** (1 / 3)
