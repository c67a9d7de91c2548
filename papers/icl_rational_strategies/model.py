"""The hierarchical Bayesian model: two strategies, what each costs, and how much of each a rational learner uses.

M memorises the D training urns, G knows only the Dirichlet that urns come from. After N training steps a learner that trades the evidence for a strategy
against its complexity uses them in the proportion w_M : w_G (paper, section 4). Everything here is exact and in float64 where its arguments are.
Arrays of the Transformer's predictions T are (checkpoints, D, n, C, V): n sequences of C draws; those of M and G are (D, n, C, V).
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from shared.icl.urns import counts_before, dirichlet_mean, mixture_mean

# ---- the two strategies ----


def generalising(ids: Int[Array, "n C"], V: int) -> Float[Array, "n C V"]:
    """G before each draw: (n_v + 1) / (t + V), the posterior mean of an urn ~ Dirichlet(1, ..., 1)."""
    return dirichlet_mean(counts_before(ids, V)[:, :-1])


def memorising(ids: Int[Array, "n C"], urns: Float[Array, "D V"]) -> Float[Array, "n C V"]:
    """M before each draw: sum_k P(k | draws) theta_k with an even prior over the D training urns; one sequence at a time, to bound the memory."""
    return jax.lax.map(lambda counts: mixture_mean(counts[:-1], urns), counts_before(ids, urns.shape[-1]))


# ---- where between them a Transformer lies ----


def kl(P: Float[Array, "... V"], Q: Float[Array, "... V"]) -> Float[Array, " *cells"]:
    """KL(P || Q), nats."""
    return jax.scipy.special.rel_entr(P, Q).sum(-1)


def distance(P: Float[Array, "... n C V"], Q: Float[Array, "... n C V"]) -> Float[Array, " *cells"]:
    """Symmetrised KL, averaged over sequences and positions."""
    return ((kl(P, Q) + kl(Q, P)) / 2).mean((-2, -1))


def observed_weight(T: Float[Array, "... n C V"], M: Float[Array, "... n C V"], G: Float[Array, "... n C V"]) -> Float[Array, " *cells"]:
    """w_obs = (r + 1) / 2 with the relative distance r = (d(T, G) - d(T, M)) / d(G, M) clipped to [-1, 1]: 1 memorises, 0 generalises."""
    r = (distance(T, G) - distance(T, M)) / distance(G, M)
    return (jnp.clip(r, -1, 1) + 1) / 2


def mix(w: Float[Array, " *cells"], M: Float[Array, "... n C V"], G: Float[Array, "... n C V"]) -> Float[Array, "... n C V"]:
    """w M + (1 - w) G."""
    w = w[..., None, None, None]
    return w * M + (1 - w) * G


def best_weight(T: Float[Array, "... n C V"], M: Float[Array, "... n C V"], G: Float[Array, "... n C V"], halvings: int = 16) -> Float[Array, " *cells"]:
    """The w in [0, 1] with the least KL(T || w M + (1 - w) G). It is convex in w, so the sign of its slope, that of -<T, (M - G) / mix>, is bisected."""

    def halve(_, bounds):
        low, high = bounds
        w = (low + high) / 2
        rises = (T * (M - G) / mix(w, M, G)).sum((-3, -2, -1)) < 0
        return jnp.where(rises, low, w), jnp.where(rises, w, high)

    cells = jnp.broadcast_shapes(T.shape, M.shape)[:-3]
    low, high = jax.lax.fori_loop(0, halvings, halve, (jnp.zeros(cells, M.dtype), jnp.ones(cells, M.dtype)))
    return (low + high) / 2


def interpolation_threshold(to_best: Float[np.ndarray, "checkpoints D"], share: float = 0.2) -> int:
    """The first checkpoint that counts: by then, for every D, the distance to the best mixture has once fallen to 20 % of its range over training."""
    least, most = to_best.min(axis=0), to_best.max(axis=0)
    return int((to_best <= least + share * (most - least)).argmax(axis=0).max())


# ---- what a strategy costs ----

# The predictors as programs, a part of their complexity. Frozen text: the bits must not depend on how this repository is formatted.
PROGRAM_G = "def predict(counts, prior):\n    return (counts + prior) / (counts + prior).sum()\n"
PROGRAM_M = "def predict(counts, urns):\n    posterior = softmax((counts * log(urns)).sum(-1))\n    return posterior @ urns\n"


def compressed_bits(data: bytes) -> int:
    """Size by the best of three general compressors."""
    return 8 * min(len(lzma.compress(data, preset=9)), len(bz2.compress(data)), len(zlib.compress(data, 9)))


def table_bits(table: Float[np.ndarray, "rows V"]) -> int:
    """Size of a float64 table: as it is, or as the differences of the bit patterns of neighbours, whichever is smaller."""
    words = np.ascontiguousarray(table, np.float64).ravel().view(np.uint64)
    return min(compressed_bits(words.tobytes()), compressed_bits(np.diff(words, prepend=np.uint64(0)).tobytes()))


def complexity_G(V: int) -> int:
    """K_G in bits: V parameters of the Dirichlet, and the program."""
    return table_bits(np.ones((1, V))) + compressed_bits(PROGRAM_G.encode())


def complexity_M(urns: Float[np.ndarray, "D V"]) -> int:
    """K_M in bits: the D urns, and the program."""
    return table_bits(urns) + compressed_bits(PROGRAM_M.encode())


# ---- how much of each a rational learner uses ----


class Strategies(NamedTuple):
    """What the model knows of M and G, for each D: mean loss on training urns above the entropy, KL(theta || Q) in nats, and complexity in bits."""

    loss_M: Float[Array, " D"]
    loss_G: Float[Array, " D"]
    bits_M: Float[Array, " D"]
    bits_G: Float[Array, " D"]


class Learner(NamedTuple):
    """The parameters: evidence grows as gamma N^(1 - alpha), complexity counts as c K^beta; c = 1 in the paper's three-parameter model."""

    alpha: Float[Array, ""] | float
    beta: Float[Array, ""] | float
    gamma: Float[Array, ""] | float
    c: Float[Array, ""] | float = 1.0


def log_posterior(learner: Learner, N: Float[Array, " checkpoints"], loss: Float[Array, " D"], bits: Float[Array, " D"]) -> Float[Array, "checkpoints D"]:
    """log post_Q(N, D) = -gamma N^(1 - alpha) Lbar_Q(D) - ln2 c K_Q(D)^beta, up to a constant that M and G share."""
    evidence = -learner.gamma * N[:, None] ** (1 - learner.alpha) * loss
    return evidence - jnp.log(2.0) * learner.c * bits**learner.beta


def posterior(learner: Learner, N: Float[Array, " checkpoints"], known: Strategies) -> Float[Array, "2 checkpoints D"]:
    """(w_M, w_G) after N steps: they sum to one."""
    both = jnp.stack([log_posterior(learner, N, known.loss_M, known.bits_M), log_posterior(learner, N, known.loss_G, known.bits_G)])
    return jax.nn.softmax(both, axis=0)
