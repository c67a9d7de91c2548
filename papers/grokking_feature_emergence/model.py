"""The two-layer net on a group's multiplication table, its training step, and what is measured of it.

All M^2 pairs (g1, g2) are the rows of one table, in the order n = g1 * M + g2; a mask says which rows are trained on. The input is fixed and one-hot, so
X W = W[g1] + W[M + g2], an outer sum: the whole table costs no more than its gathered half, and runs with different train fractions share one program.

Symbols as in the paper: M group order, K hidden nodes, X (M^2, 2M), W (2M, K), V (K, M), F = sigma(X W), Y one-hot labels (M^2, M), eta ridge.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

ACTIVATIONS = {"square": jnp.square, "relu": jax.nn.relu, "silu": jax.nn.silu, "relu2": lambda z: jnp.square(jax.nn.relu(z))}


# ---- groups ----


def group_table(name: str) -> Int[np.ndarray, "M M"]:
    """Multiplication table of a named group: ``table[g1, g2] = g1 * g2``. "Z23" is cyclic, "Z2xZ3xZ5" a product, "S4" symmetric."""
    if name.startswith("S"):
        elements = list(itertools.permutations(range(int(name[1:]))))
        index = {element: i for i, element in enumerate(elements)}
        return np.array([[index[tuple(g[i] for i in h)] for h in elements] for g in elements])
    table = np.zeros((1, 1), dtype=int)
    for factor in name.split("x"):
        order = int(factor.removeprefix("Z"))
        cyclic = (np.arange(order)[:, None] + np.arange(order)) % order
        table = (table[:, None, :, None] * order + cyclic[None, :, None, :]).reshape(len(table) * order, -1)
    return table


LARGEST_IRREP = {"S3": 2, "S4": 3}
"""d_max, the dimension of the largest irreducible representation, of the non-abelian groups used."""


def critical_fraction(name: str, kappa: float) -> float:
    """p = kappa ln(M) / M, times d_max / 2 for a non-abelian group: the scaling law, with the constant kappa in front. At most 0.9, to leave a test set."""
    M = len(group_table(name))
    return min(0.9, kappa * LARGEST_IRREP.get(name, 2) / 2 * np.log(M) / M)


class Problem(NamedTuple):
    """What one run is given; a pytree, so that runs with different masks and knobs lie side by side."""

    labels: Int[Array, " pairs"]  # g1 * g2 for every pair
    train: Float[Array, " pairs"]  # 1 on the pairs trained on, 0 on those tested
    lr: Float[Array, ""]
    wd: Float[Array, ""]


def random_split(rng: np.random.Generator, M: int, fraction: float) -> Float[np.ndarray, " pairs"]:
    """A uniformly random train mask. From one seed the splits are nested: a larger fraction adds pairs and drops none."""
    return (rng.permutation(M * M) < round(fraction * M * M)).astype(np.float32)


# ---- network ----


class Params(NamedTuple):
    W: Float[Array, "2M K"]
    V: Float[Array, "K M"]


def init_params(rng: np.random.Generator, M: int, K: int) -> Params:
    """torch's default for linear layers without bias: uniform in +-1/sqrt(fan in)."""
    bound_W, bound_V = (2 * M) ** -0.5, K**-0.5
    W, V = rng.uniform(-bound_W, bound_W, (2 * M, K)), rng.uniform(-bound_V, bound_V, (K, M))
    return Params(W.astype(np.float32), V.astype(np.float32))


def preactivations(W: Float[Array, "2M K"]) -> Float[Array, "pairs K"]:
    """X W over the whole table."""
    M = W.shape[0] // 2
    return (W[:M, None] + W[None, M:]).reshape(M * M, -1)


def transposed_inputs(G: Float[Array, "pairs K"], M: int) -> Float[Array, "2M K"]:
    """X^T G: the sums of G over all pairs with the same g1, then over all with the same g2."""
    G = G.reshape(M, M, -1)
    return jnp.concatenate([G.sum(axis=1), G.sum(axis=0)])


def centred_output(F: Float[Array, "pairs K"], V: Float[Array, "K M"]) -> Float[Array, "pairs M"]:
    """o~ = o - mean over outputs, o = F V."""
    return F @ (V - V.mean(axis=1, keepdims=True))


def pair_losses(o: Float[Array, "pairs M"], labels: Int[Array, " pairs"]) -> Float[Array, " pairs"]:
    """||o~||^2 - 2 o~_y + 1 - 1/M, which is ||o~ - (e_y - 1/M)||^2, for each pair."""
    o_y = jnp.take_along_axis(o, labels[:, None], axis=1)[:, 0]
    return jnp.square(o).sum(axis=1) - 2 * o_y + 1 - 1 / o.shape[1]


def masked_mean(values: Float[Array, " pairs"], mask: Float[Array, " pairs"]) -> Float[Array, ""]:
    return (values * mask).sum() / mask.sum()


def loss(params: Params, problem: Problem, activation: str) -> Float[Array, ""]:
    """Mean squared error on the train pairs."""
    F = ACTIVATIONS[activation](preactivations(params.W))
    return masked_mean(pair_losses(centred_output(F, params.V), problem.labels), problem.train)


# ---- optimisers: full batch, one array at a time ----


class Moments(NamedTuple):
    mean: Array
    square: Array


def adam(param: Array, grad: Array, moments: Moments, t: Int[Array, ""], lr, wd, b1=0.9, b2=0.999, eps=1e-8) -> tuple[Array, Moments]:
    """Adam with coupled decay: wd * param joins the gradient (torch's ``Adam(weight_decay=wd)``). ``t`` = 0 at the first step."""
    grad = grad + wd * param
    mean = b1 * moments.mean + (1 - b1) * grad
    square = b2 * moments.square + (1 - b2) * jnp.square(grad)
    step = (mean / (1 - b1 ** (t + 1))) / (jnp.sqrt(square / (1 - b2 ** (t + 1))) + eps)
    return param - lr * step, Moments(mean, square)


def adamw(param: Array, grad: Array, moments: Moments, t: Int[Array, ""], lr, wd) -> tuple[Array, Moments]:
    """Adam with decoupled decay, the control between Adam and Muon: Muon's decay without its orthogonalised step."""
    return adam((1 - lr * wd) * param, grad, moments, t, lr, 0.0)


NEWTON_SCHULZ = ((4.01, -9.22, 5.80), (3.49, -6.38, 3.23), (3.34, -6.21, 3.20), (3.64, -7.48, 4.43), (3.46, -5.35, 2.85))


def orthogonalise(G: Float[Array, "a b"]) -> Float[Array, "a b"]:
    """NS5: five Newton-Schulz steps X <- a X + (b A + c A^2) X, A = X X^T, push every singular value of G towards 1 and leave its singular vectors."""
    X = G.T if G.shape[0] > G.shape[1] else G
    X = X / (jnp.linalg.norm(X) + 1e-7)
    for a, b, c in NEWTON_SCHULZ:
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if G.shape[0] > G.shape[1] else X


def muon(param: Array, grad: Array, moments: Moments, t: Int[Array, ""], lr, wd, b=0.99) -> tuple[Array, Moments]:
    """Muon: decoupled decay, then a step along the orthogonalised running mean of the gradient (no Nesterov, no rms scaling)."""
    mean = moments.mean + (1 - b) * (grad - moments.mean)
    return (1 - lr * wd) * param - lr * orthogonalise(mean), Moments(mean, moments.square)


OPTIMISERS = {"adam": adam, "adamw": adamw, "muon": muon}


# ---- one run: its state, its step, its metrics ----


class State(NamedTuple):
    params: Params
    W_moments: Moments
    V_moments: Moments


def init_state(rng: np.random.Generator, M: int, K: int) -> State:
    params = init_params(rng, M, K)
    W_moments, V_moments = (Moments(np.zeros_like(param), np.zeros_like(param)) for param in params)
    return State(params, W_moments, V_moments)


@functools.cache
def training_step(activation: str = "square", W_optimiser: str = "adam"):
    """``step(state, t, problem)``: one full-batch step, W by the named optimiser, V always by Adam."""
    update_W = OPTIMISERS[W_optimiser]

    def step(state: State, t: Int[Array, ""], problem: Problem) -> State:
        grad = jax.grad(loss)(state.params, problem, activation)
        W, W_moments = update_W(state.params.W, grad.W, state.W_moments, t, problem.lr, problem.wd)
        V, V_moments = adam(state.params.V, grad.V, state.V_moments, t, problem.lr, problem.wd)
        return State(Params(W, V), W_moments, V_moments)

    return step


@functools.cache
def measurement(activation: str = "square"):
    """``measure(state, problem)``: accuracies and losses, and the back-propagated signal that the paper's three stages are told by."""

    def measure(state: State, problem: Problem) -> dict[str, Float[Array, ""]]:
        W, V = state.params
        M = V.shape[1]
        test = 1 - problem.train
        F = ACTIVATIONS[activation](preactivations(W))
        o = centred_output(F, V)
        losses = pair_losses(o, problem.labels)
        correct = (o.argmax(axis=1) == problem.labels).astype(jnp.float32)
        residual = problem.train[:, None] * (jax.nn.one_hot(problem.labels, M) - 1 / M - o)
        G = residual @ V.T  # G_F: minus the gradient of the summed loss with respect to F, halved
        return {
            "train_accuracy": masked_mean(correct, problem.train),
            "test_accuracy": masked_mean(correct, test),
            "train_loss": masked_mean(losses, problem.train),
            "test_loss": masked_mean(losses, test),
            "signal_norm": jnp.linalg.norm(G),
            "signal_cosine": cosine(G, label_signal(centred_labels(problem.labels, problem.train, M), F)),
            "W_norm": jnp.linalg.norm(W),
        }

    return measure


# ---- the paper's signals ----


def centred_labels(labels: Int[Array, " pairs"], mask: Float[Array, " pairs"], M: int) -> Float[Array, "pairs M"]:
    """Y~ = P Y over the masked pairs (P takes off the mean over pairs), with rows of zeros elsewhere."""
    return centre(jax.nn.one_hot(labels, M), mask)


def centre(A: Float[Array, "pairs d"], mask: Float[Array, " pairs"]) -> Float[Array, "pairs d"]:
    """P A over the masked rows, zeros elsewhere."""
    mask = mask[:, None]
    return mask * (A - (mask * A).sum(axis=0) / mask.sum())


def label_signal(Y: Float[Array, "pairs M"], F: Float[Array, "pairs K"]) -> Float[Array, "pairs K"]:
    """Y~ Y~^T F, what G_F is proportional to at the end of Stage I."""
    return Y @ (Y.T @ F)


def cosine(A: Array, B: Array) -> Float[Array, ""]:
    """Cosine of the angle between two arrays seen as vectors."""
    return (A * B).sum() / (jnp.linalg.norm(A) * jnp.linalg.norm(B) + 1e-30)
