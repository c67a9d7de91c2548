"""The mixture over Boolean functions, each weighted as a random network weighs it, and its regret.

Hypotheses are truth tables on the cube {-1, +1}^d: integers ("codes") whose bit x is set where the function is +1 on input x. A label is the function's value,
flipped with probability q; inputs are uniform. Networks that compute the same table are one hypothesis, whose weight is their prior probability.

All that a label sequence says lies in the margins z_x = (labels on input x that agree with the truth f) - (those that do not). With lam = ln((1 - q) / q),

    P_g(y) / P_f(y) = prod_{x : g(x) != f(x)} exp(-lam z_x),                        Q(y) / P_f(y) = sum_g w_g P_g(y) / P_f(y).

The sum runs over up to 2^(2^d) tables. It factorises over inputs but for w, so that it is u^T A v: A holds the weights, its rows are the tables' bits on one
half of the cube and its columns those on the other, u and v are products over the halves.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32
from scipy import sparse
from scipy.special import expit

DENSE_UP_TO = 4
"""Up to this d the matrix of weights is dense (2^8 x 2^8 for d = 4); the one for d = 5, 2^16 x 2^16, is sparse."""


# ---- truth tables ----


def cube(d: int) -> Int[np.ndarray, "2**d d"]:
    """All inputs; coordinate i of input x is +1 where bit i of x is set."""
    return np.where(bits(np.arange(2**d), d), 1, -1)


def bits(codes: Int[np.ndarray, " ..."], size: int) -> Bool[np.ndarray, "... size"]:
    """Binary digits, the least significant first."""
    return (np.asarray(codes)[..., None] >> np.arange(size)) & 1 == 1


def pack(values: Bool[np.ndarray, "... size"]) -> Int[np.ndarray, " ..."]:
    """The inverse of ``bits``."""
    return values @ (1 << np.arange(values.shape[-1], dtype=np.int64))


def named_functions(d: int) -> dict[str, int]:
    """The codes of the targets, simple ones first; a majority of three takes d >= 3."""
    x = cube(d)
    functions = {
        "constant": np.ones(2**d, bool),
        "x1": x[:, 0] > 0,
        "x1 AND x2": (x[:, 0] > 0) & (x[:, 1] > 0),
        "majority of 3": x[:, :3].sum(axis=1) > 0,
        "x1 XOR x2": x[:, 0] != x[:, 1],
        f"parity of {d}": x.prod(axis=1) < 0,
    }
    if d < 3:
        del functions["majority of 3"], functions[f"parity of {d}"]
    return {name: int(pack(values)) for name, values in functions.items()}


@functools.cache
def orbits(d: int) -> Int[np.ndarray, " 2**2**d"]:
    """The class of each table under permutations and sign changes of coordinates (6, 22, 402 classes for d = 2, 3, 4).

    The networks' prior is invariant under them. Under negation of the output it is not quite: where all hidden units are dead, v . relu = 0 counts as -1.
    """
    tables = bits(np.arange(2**2**d), 2**d)
    x = np.arange(2**d)
    moves = [x ^ 1]  # the sign of coordinate 0
    for i in range(d - 1):  # exchange coordinates i and i + 1
        differ = (x >> i ^ x >> (i + 1)) & 1
        moves.append(x ^ (differ << i | differ << (i + 1)))
    start = np.tile(np.arange(len(tables)), len(moves))
    image = np.concatenate([pack(tables[:, move]) for move in moves])
    graph = sparse.coo_array((np.ones(len(start), np.int8), (start, image)), shape=(len(tables), len(tables)))
    return sparse.csgraph.connected_components(graph, directed=False)[1]


# ---- the prior: networks drawn at random ----


@functools.partial(jax.jit, static_argnames=("d", "H", "law", "blocks", "block"))
def sample_tables(key: PRNGKeyArray, d: int, H: int, law: str, blocks: int, block: int = 1000) -> UInt32[Array, "blocks block"]:
    """Codes of sign(v . relu(W x + b)) for networks of width H with W, b of variance 1 / (d + 1) and v of variance 1 / H; sign(0) = -1.

    ``law`` is gaussian, uniform (bounded, of the same variances) or limit: H -> infinity, a Gaussian process, for which H is not looked at.
    """
    x = np.c_[cube(d), np.ones(2**d)].astype(np.float32)
    root = np.linalg.cholesky(limit_kernel(d) + 1e-9 * np.eye(2**d)).astype(np.float32)
    draw = {"gaussian": jax.random.normal, "uniform": lambda *of: jax.random.uniform(*of, minval=-(3**0.5), maxval=3**0.5)}

    def networks(key: PRNGKeyArray) -> UInt32[Array, " block"]:
        if law == "limit":
            z = root @ jax.random.normal(key, (2**d, block))
        else:
            key_hidden, key_out = jax.random.split(key)
            W = draw[law](key_hidden, (d + 1, H, block)) / (d + 1) ** 0.5  # the last of the d + 1 is the bias
            v = draw[law](key_out, (H, block)) / H**0.5
            z = jax.lax.map(lambda x: (v * jax.nn.relu(sum(x[i] * W[i] for i in range(d + 1)))).sum(axis=0), x)  # (2^d, block)
        return ((z > 0) * (jnp.uint32(1) << jnp.arange(2**d, dtype=jnp.uint32))[:, None]).sum(axis=0, dtype=jnp.uint32)

    return jax.lax.map(networks, jax.random.split(key, blocks))


def limit_kernel(d: int) -> Float[np.ndarray, "2**d 2**d"]:
    """E[relu(u) relu(u')] for the unit vectors (x, 1) / sqrt(d + 1): (sin a + (pi - a) cos a) / (2 pi), a their angle (arc-cosine kernel of degree one)."""
    x = np.c_[cube(d), np.ones(2**d)] / np.sqrt(d + 1)
    angle = np.arccos(np.clip(x @ x.T, -1, 1))
    return (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)


@dataclass(frozen=True)
class Prior:
    """Tables with their weights, which are positive and sum to one; all other tables have weight 0."""

    d: int
    codes: Int[np.ndarray, " tables"]
    weights: Float[np.ndarray, " tables"]

    def weight(self, f: int) -> float:
        """W_0(f)."""
        return float(self.weights[self.codes == f].sum())

    def around(self, f: int):
        """A: the weight of the table that differs from f on the inputs in i (second half of the cube) and j (first half), (2^half, 2^half)."""
        half = 2**self.d // 2
        differing = self.codes ^ f
        A = sparse.coo_array((self.weights, (differing >> half, differing & (2**half - 1))), shape=(2**half, 2**half))
        return A.toarray() if self.d <= DENSE_UP_TO else A.tocsr()


def frequencies(d: int, codes: Int[np.ndarray, " ..."]) -> Prior:
    """The weights as plain frequencies among sampled networks."""
    tables, counts = np.unique(codes, return_counts=True)
    return Prior(d, tables.astype(np.int64), counts / np.size(codes))


def symmetrised(prior: Prior) -> Prior:
    """The same with each weight replaced by the mean over its orbit: unbiased still, since the law of the networks is invariant, and less noisy."""
    classes = orbits(prior.d)
    mass = np.bincount(classes[prior.codes], prior.weights, minlength=classes.max() + 1)
    weights = (mass / np.bincount(classes))[classes]
    codes = np.flatnonzero(weights)
    return Prior(prior.d, codes, weights[codes])


def uniform_on_functions(d: int) -> Prior:
    """No preference for anything simple: all 2^(2^d) tables alike."""
    tables = 2**2**d
    return Prior(d, np.arange(tables), np.full(tables, 1 / tables))


# ---- data ----


def draw_margins(rng: np.random.Generator, d: int, q: float, sequences: int, sizes: Int[np.ndarray, " n"]) -> Int[np.ndarray, "sequences n 2**d"]:
    """Margins after each of ``sizes`` labels. Their law does not depend on the truth: all functions and priors are held against the same draws."""
    x = rng.integers(2**d, size=(sequences, sizes.max()))
    agreement = np.where(rng.random(x.shape) < q, -1, 1)
    z = np.zeros((sequences, sizes.max() + 1, 2**d), int)
    np.put_along_axis(z[:, 1:], x[..., None], agreement[..., None], axis=2)
    return z.cumsum(axis=1)[:, sizes]


# ---- the mixture ----


def log_odds(q: float) -> float:
    """lam = ln((1 - q) / q)."""
    return float(np.log((1 - q) / q))


def flip_divergence(q: float) -> float:
    """D(Bernoulli(q) || Bernoulli(1 - q)): the divergence on an input where two functions differ."""
    return (1 - 2 * q) * log_odds(q)


def subset_products(p: Float[np.ndarray, "batch inputs"]) -> Float[np.ndarray, "batch 2**inputs"]:
    """prod_{x in i} p_x prod_{x not in i} (1 - p_x) for every subset i, a code."""
    u = np.ones((len(p), 1))
    for p_x in p.T[..., None]:
        u = np.concatenate([u * (1 - p_x), u * p_x], axis=1)
    return u


def mixture(prior: Prior, f: int, z: Int[np.ndarray, "... 2**d"], q: float) -> tuple[Float[np.ndarray, " ..."], Float[np.ndarray, "... 2**d"]]:
    """ln P_f(y) - ln Q(y), and for each input the posterior probability that the function is not f's there.

    exp(-lam z_x) = r_x is written as p_x / (1 - p_x), which leaves prod_x (1 + r_x) and probabilities.
    """
    A, size = prior.around(f), 2**prior.d
    lam_z = log_odds(q) * z.reshape(-1, size)
    p = expit(-lam_z)  # what an indifferent prior would believe of each input by itself
    v, u = subset_products(p[:, : size // 2]), subset_products(p[:, size // 2 :])
    uA, Av = u @ A, (A @ v.T).T
    total = (uA * v).sum(axis=1)
    regret = -np.log(total) - np.logaddexp(0, -lam_z).sum(axis=1)
    member = bits(np.arange(2 ** (size // 2)), size // 2).astype(float)
    wrong = np.concatenate([(uA * v) @ member, (u * Av) @ member], axis=1) / total[:, None]
    return regret.reshape(z.shape[:-1]), wrong.reshape(z.shape)


def next_label_excess(wrong: Float[np.ndarray, "... 2**d"], q: float) -> Float[np.ndarray, " ..."]:
    """E[ln P_f(y_{n+1}) - ln Q(y_{n+1} | y^n)] over the next input and label: what the next label adds to the regret."""
    predicted = q + (1 - 2 * q) * wrong  # the mixture's probability of a label other than f's
    return (q * np.log(q / predicted) + (1 - q) * np.log((1 - q) / (1 - predicted))).mean(axis=-1)


def regret_bound(prior: Prior, f: int, sizes: Int[np.ndarray, " n"], q: float) -> Float[np.ndarray, " n"]:
    """min over eps of ln(1 / W_eps(f)) + n eps. Only the divergences D(f || g) = (inputs where they differ) / 2^d x D(q || 1 - q) can be minimal."""
    differing = bits(prior.codes ^ f, 2**prior.d).sum(axis=1)
    W = np.cumsum(np.bincount(differing, prior.weights, minlength=2**prior.d + 1))
    eps = np.arange(len(W)) / 2**prior.d * flip_divergence(q)
    reached = W > 0
    return (np.log(1 / W[reached]) + sizes[:, None] * eps[reached]).min(axis=1)


def two_part(prior: Prior, f: int, z: Int[np.ndarray, "... 2**d"], q: float) -> tuple[Float[np.ndarray, " ..."], Float[np.ndarray, " ..."]]:
    """The baseline that picks one hypothesis: regret of the code that names the best table g and then uses it, min_g ln(1 / w_g) + ln P_f / P_g, and the excess
    loss on the next label when that g predicts it."""
    differing = bits(prior.codes ^ f, 2**prior.d).astype(np.float32)
    surprise = -np.log(prior.weights).astype(np.float32)
    length, share = [], []
    for block in np.array_split(z.reshape(-1, z.shape[-1]), -(-z.size // 2048)):
        lengths = surprise + (log_odds(q) * block).astype(np.float32) @ differing.T
        best = lengths.argmin(axis=1)
        length.append(lengths[np.arange(len(best)), best])
        share.append(differing[best].mean(axis=1))
    return np.concatenate(length).reshape(z.shape[:-1]), flip_divergence(q) * np.concatenate(share).reshape(z.shape[:-1])


# ---- exact expectations ----


def exact_regret(prior: Prior, f: int, n: int, q: float) -> Float[np.ndarray, " n"]:
    """R_1 .. R_n without sampling, for small cubes (d <= 2): the margins are a random walk on Z^(2^d), whose law is moved forward step by step."""
    size = 2**prior.d
    axis = np.arange(-n, n + 1)
    z = np.stack(np.meshgrid(*[axis] * size, indexing="ij"), axis=-1)
    regret, _ = mixture(prior, f, z, q)
    law = np.zeros(regret.shape)
    law[(n,) * size] = 1
    R = []
    for _ in range(n):
        law = sum((1 - q) * np.roll(law, 1, x) + q * np.roll(law, -1, x) for x in range(size)) / size
        R.append((law * regret).sum())
    return np.array(R)


def exact_regret_uniform(d: int, sizes: Int[np.ndarray, " n"], q: float) -> Float[np.ndarray, " n"]:
    """R_n under the uniform prior on functions, whose inputs do not inform on one another: 2^d E ln(2 / (1 + exp(-lam z_x)))."""
    z = np.arange(-sizes.max(), sizes.max() + 1)
    step = np.array([q / 2**d, 1 - 1 / 2**d, (1 - q) / 2**d])
    law, regret = np.eye(len(z))[sizes.max()], 2**d * (np.log(2) - np.logaddexp(0, -log_odds(q) * z))
    R = [0.0]
    for _ in range(sizes.max()):
        law = np.convolve(law, step, mode="same")
        R.append(law @ regret)
    return np.array(R)[sizes]
