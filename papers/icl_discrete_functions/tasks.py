"""Random Boolean functions and the prompts that they label (Section 2, and the generators of the official code).

A prompt is m points x_1 .. x_m in {-1, +1}^n with labels y_k = f(x_k) in {-1, +1}; f is drawn anew for each prompt. A conjunction or disjunction is a vector
w in {-1, 0, +1}^n: coordinate i is the literal x_i, its negation, or absent. Formulas in normal form are three such clauses W.
Uniform points would hardly ever satisfy a long conjunction: each point is, with some probability, made to satisfy (or to falsify) the function.

Everything draws a batch of B prompts at once inside a compiled program. Shapes: B prompts, m points, n bits, C clauses.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

CLAUSES = 3
"""Clauses of a DNF or CNF."""


class Task(NamedTuple):
    """A class of functions at one size; plain values, so that it can key a compiled program."""

    name: str
    n: int
    """Bits of a point."""
    m: int
    """Points in a prompt."""
    literals: float = 0.0
    """Probability that a clause of a DNF or CNF has a given variable. Paper: 0.2."""
    start: int = 0
    """Nearest neighbour: the first points, whose labels are random and are not counted."""


class Prompts(NamedTuple):
    x: Float[Array, "B m n"]
    y: Float[Array, "B m"]
    taught: Int[Array, " B"]
    """Examples at the beginning that are a teaching sequence; 0 for none."""


# ---- functions ----


def sign(z: Array) -> Array:
    """+1 or -1; all arguments here are odd integers or half-integers, never 0."""
    return jnp.where(z > 0, 1.0, -1.0)


def conjunction(w: Float[Array, "... n"], x: Float[Array, "... n"]) -> Float[Array, " ..."]:
    """+1 iff all literals of w hold: sign(w.x - (|w|_1 - 1))."""
    return sign((w * x).sum(-1) - jnp.abs(w).sum(-1) + 1)


def disjunction(w: Float[Array, "... n"], x: Float[Array, "... n"]) -> Float[Array, " ..."]:
    """+1 iff some literal of w holds: sign(w.x + |w|_1 - 1)."""
    return sign((w * x).sum(-1) + jnp.abs(w).sum(-1) - 1)


def dnf(W: Float[Array, "... C n"], x: Float[Array, "... n"]) -> Float[Array, " ..."]:
    """An OR of conjunctions."""
    return conjunction(W, x[..., None, :]).max(-1)


def cnf(W: Float[Array, "... C n"], x: Float[Array, "... n"]) -> Float[Array, " ..."]:
    """An AND of disjunctions."""
    return disjunction(W, x[..., None, :]).min(-1)


def threshold(w: Float[Array, "... n"], bias: Float[Array, " ..."] | float, x: Float[Array, "... n"]) -> Float[Array, " ..."]:
    """sign(w.x - bias), with a half-integer bias."""
    return sign((w * x).sum(-1) - bias)


def parity(w: Float[Array, "... n"], x: Float[Array, "... n"]) -> Float[Array, " ..."]:
    """+1 iff an odd number of the bits in the subset w in {0, 1}^n are set to 1, that is x_i = +1."""
    return 1 - 2 * ((w * (x > 0)).sum(-1) % 2 == 0)


# ---- drawing functions and points ----


def draw_points(key: PRNGKeyArray, task: Task, B: int) -> Float[Array, "B m n"]:
    """Uniform on {-1, +1}^n."""
    return jax.random.rademacher(key, (B, task.m, task.n), jnp.float32)


def draw_literals(key: PRNGKeyArray, shape: tuple[int, ...], plain: float, negated: float) -> Float[Array, " ..."]:
    """Each coordinate +1 with probability ``plain``, -1 with probability ``negated``, otherwise 0."""
    u = jax.random.uniform(key, shape)
    return jnp.where(u < plain, 1.0, jnp.where(u < plain + negated, -1.0, 0.0))


def force(key: PRNGKeyArray, x: Float[Array, "B m n"], w: Float[Array, "B n"], rate: float, to: float = 1.0) -> Float[Array, "B m n"]:
    """With probability ``rate`` for each point: set the variables of w so that all its literals hold (``to`` = 1) or none does (-1)."""
    forced = jax.random.bernoulli(key, rate, (*x.shape[:2], 1))
    w = w[:, None]
    return jnp.where(forced & (w != 0), to * w, x)


def draw_conjunction(key: PRNGKeyArray, task: Task, B: int) -> tuple[Array, Array]:
    key_w, key_x, key_force = jax.random.split(key, 3)
    w = draw_literals(key_w, (B, task.n), 0.15, 0.15)
    x = force(key_force, draw_points(key_x, task, B), w, 0.3)
    return x, conjunction(w[:, None], x)


def draw_disjunction(key: PRNGKeyArray, task: Task, B: int) -> tuple[Array, Array]:
    key_w, key_x, key_force = jax.random.split(key, 3)
    w = draw_literals(key_w, (B, task.n), 0.15, 0.15)
    x = force(key_force, draw_points(key_x, task, B), w, 0.3, to=-1.0)
    return x, disjunction(w[:, None], x)


def draw_subsets(key: PRNGKeyArray, B: int, n: int, k: int) -> Float[Array, "B n"]:
    """w in {0, 1}^n with k ones at random places."""
    ranks = jnp.argsort(jnp.argsort(jax.random.uniform(key, (B, n)), axis=-1), axis=-1)
    return (ranks < k).astype(jnp.float32)


def draw_sparse_disjunction(key: PRNGKeyArray, task: Task, B: int, k: int = 4) -> tuple[Array, Array]:
    """k positive literals."""
    key_w, key_x, key_force = jax.random.split(key, 3)
    w = draw_subsets(key_w, B, task.n, k)
    x = force(key_force, draw_points(key_x, task, B), w, 0.3, to=-1.0)
    return x, disjunction(w[:, None], x)


def draw_clauses(key: PRNGKeyArray, task: Task, B: int) -> tuple[Float[Array, "B C n"], Float[Array, "B n"]]:
    """The clauses W, and the one of them that points are forced on, the same for a whole prompt."""
    key_W, key_chosen = jax.random.split(key)
    W = draw_literals(key_W, (B, CLAUSES, task.n), task.literals / 2, task.literals / 2)
    return W, W[jnp.arange(B), jax.random.randint(key_chosen, (B,), 0, CLAUSES)]


def draw_dnf(key: PRNGKeyArray, task: Task, B: int) -> tuple[Array, Array]:
    key_W, key_x, key_force = jax.random.split(key, 3)
    W, chosen = draw_clauses(key_W, task, B)
    x = force(key_force, draw_points(key_x, task, B), chosen, 0.35)
    return x, dnf(W[:, None], x)


def draw_cnf(key: PRNGKeyArray, task: Task, B: int) -> tuple[Array, Array]:
    key_W, key_x, key_force = jax.random.split(key, 3)
    W, chosen = draw_clauses(key_W, task, B)
    x = force(key_force, draw_points(key_x, task, B), chosen, 0.3, to=-1.0)
    return x, cnf(W[:, None], x)


def draw_majority(key: PRNGKeyArray, task: Task, B: int) -> tuple[Array, Array]:
    """Majority over a random subset, +1 at +1/2 and above."""
    key_w, key_x = jax.random.split(key)
    x = draw_points(key_x, task, B)
    return x, threshold(draw_literals(key_w, (B, 1, task.n), 0.3, 0.0), 0.5, x)


def draw_threshold(key: PRNGKeyArray, task: Task, B: int) -> tuple[Array, Array]:
    """0-1 threshold functions, bias uniform in {-2.5, .., 2.5}."""
    key_w, key_bias, key_x = jax.random.split(key, 3)
    x = draw_points(key_x, task, B)
    bias = jax.random.randint(key_bias, (B, 1), -3, 3) + 0.5
    return x, threshold(draw_literals(key_w, (B, 1, task.n), 0.15, 0.15), bias, x)


def draw_halfspace(key: PRNGKeyArray, task: Task, B: int) -> tuple[Array, Array]:
    """Integer weights in {-3, .., 3}."""
    key_w, key_x = jax.random.split(key)
    x = draw_points(key_x, task, B)
    return x, threshold(jax.random.randint(key_w, (B, 1, task.n), -3, 4), 0.5, x)


def draw_parity(key: PRNGKeyArray, task: Task, B: int) -> tuple[Array, Array]:
    """Over a uniformly random subset."""
    key_w, key_x = jax.random.split(key)
    x = draw_points(key_x, task, B)
    return x, parity(draw_literals(key_w, (B, 1, task.n), 0.5, 0.0), x)


def draw_sparse_parity(key: PRNGKeyArray, task: Task, B: int, k: int = 2) -> tuple[Array, Array]:
    key_w, key_x = jax.random.split(key)
    x = draw_points(key_x, task, B)
    return x, parity(draw_subsets(key_w, B, task.n, k)[:, None], x)


# ---- nearest neighbour ----


def distances(x: Float[Array, "B m n"]) -> Float[Array, "B m m"]:
    """Hamming distance of point k to each earlier point i < k; infinite to itself and to later ones."""
    hamming = (x.shape[-1] - x @ x.swapaxes(-1, -2)) / 2
    m = x.shape[-2]
    return jnp.where(jnp.tri(m, k=-1, dtype=bool), hamming, jnp.inf)


def nearest(x: Float[Array, "B m n"]) -> Int[Array, "B m"]:
    """Index of the nearest earlier point, the first of equals; 0 at the first point, which has none."""
    return distances(x).argmin(-1)


def draw_nearest_neighbour(key: PRNGKeyArray, task: Task, B: int) -> tuple[Array, Array]:
    """Random labels for the first ``start`` points (equal points get equal labels), afterwards the label of the nearest earlier point."""
    key_x, key_y = jax.random.split(key)
    x = draw_points(key_x, task, B)
    random = jax.random.rademacher(key_y, (B, task.m), jnp.float32)
    to, rows = nearest(x), jnp.arange(B)
    repeated = distances(x).min(-1) == 0

    def label(k: Int[Array, ""], y: Float[Array, "B m"]) -> Float[Array, "B m"]:
        copies = (k >= task.start) | repeated[:, k]
        return y.at[:, k].set(jnp.where(copies, y[rows, to[:, k]], random[:, k]))

    return x, jax.lax.fori_loop(0, task.m, label, random)


# ---- teaching sequences ----


def teaching_sequence(W: Float[Array, "B C n"]) -> tuple[Float[Array, "B C*(n+1) n"], Int[Array, " B"]]:
    """Points that pin down a monotone DNF, W in {0, 1}, clause by clause; a conjunction is one clause. The first t rows of each prompt count.

    For each clause: the point at which its literals alone are true, then for each literal that point with the literal made false.
    """
    B, C, n = W.shape
    true_point = 2 * W - 1
    flipped = true_point[:, :, None] * (1 - 2 * jnp.eye(n))  # row i: variable i flipped
    points = jnp.concatenate([true_point[:, :, None], flipped], axis=2).reshape(B, C * (n + 1), n)
    wanted = jnp.concatenate([jnp.ones((B, C, 1)), W], axis=2).reshape(B, C * (n + 1))
    order = jnp.argsort(-wanted, axis=1, stable=True)  # flips of variables that are not in the clause go to the end
    return jnp.take_along_axis(points, order[:, :, None], axis=1), wanted.sum(1).astype(jnp.int32)


def teach(x: Float[Array, "B m n"], W: Float[Array, "B C n"], taught: Bool[Array, " B"]) -> tuple[Float[Array, "B m n"], Int[Array, " B"]]:
    """The teaching sequence in place of the first t points, in those prompts that are taught; and t, or 0."""
    sequence, t = teaching_sequence(W)
    m = x.shape[1]
    sequence = jnp.pad(sequence, [(0, 0), (0, max(0, m - sequence.shape[1])), (0, 0)])[:, :m]
    t = jnp.where(taught, t, 0)
    return jnp.where((jnp.arange(m) < t[:, None])[..., None], sequence, x), t


def draw_taught(key: PRNGKeyArray, task: Task, taught: Bool[Array, " B"]) -> Prompts:
    """Monotone conjunctions, P(literal) = 0.3, or monotone DNFs, 0.2, whose prompts begin with a teaching sequence where ``taught``.

    One key gives the same functions and the same further points whichever prompts are taught.
    """
    B = len(taught)
    key_W, key_chosen, key_x, key_force = jax.random.split(key, 4)
    clauses, literal = (1, 0.3) if task.name == "teaching_conjunction" else (CLAUSES, task.literals)
    W = draw_literals(key_W, (B, clauses, task.n), literal, 0.0)
    chosen = W[jnp.arange(B), jax.random.randint(key_chosen, (B,), 0, clauses)]
    x, t = teach(force(key_force, draw_points(key_x, task, B), chosen, 0.4), W, taught)
    return Prompts(x, dnf(W[:, None], x), t)


# ---- prompts of any task ----

UNTAUGHT = {
    "conjunction": draw_conjunction,
    "disjunction": draw_disjunction,
    "sparse_disjunction": draw_sparse_disjunction,
    "dnf": draw_dnf,
    "cnf": draw_cnf,
    "majority": draw_majority,
    "threshold": draw_threshold,
    "halfspace": draw_halfspace,
    "parity": draw_parity,
    "sparse_parity": draw_sparse_parity,
    "nearest_neighbour": draw_nearest_neighbour,
}
TAUGHT = ("teaching_conjunction", "teaching_dnf")


def draw_prompts(key: PRNGKeyArray, task: Task, B: int) -> Prompts:
    """A batch for training or testing; of the two teaching tasks, an even mixture of taught and vanilla prompts."""
    if task.name in TAUGHT:
        key_which, key = jax.random.split(key)
        return draw_taught(key, task, jax.random.bernoulli(key_which, 0.5, (B,)))
    return Prompts(*UNTAUGHT[task.name](key, task, B), jnp.zeros(B, jnp.int32))
