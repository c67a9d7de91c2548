"""The toy model of lazy-to-rich grokking: a two-layer net with a small quadratic part, its exact closed dynamics, its loss, and its kernel.

Symbols as in the paper: D input dimension, P train points, N hidden neurons, x ~ N(0, I/D), teacher y = (beta.x)^2 / 2, student
f(x) = (alpha/N) sum_i phi(w_i.x) with phi(h) = h + (eps/2) h^2; alpha is the laziness, eps the alignment of the initial kernel with the task.

Every predictor here is of the form a.x + x^T B x: the net, its linearisation, and kernel regression with its tangent kernel. One formula gives all their test
losses, exactly. Write wbar = mean_i w_i and M = mean_i w_i w_i^T. These two statistics give f, its kernel and its loss, and gradient descent maps them into
themselves, so that training costs the same for any N. Everything is meant for float64: M is updated multiplicatively, for many thousand steps.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from shared.seeds import numpy_rng


class Summary(NamedTuple):
    """The sufficient statistics of the hidden weights."""

    wbar: Float[Array, " D"]
    M: Float[Array, "D D"]


class Quadratic(NamedTuple):
    """The predictor a.x + x^T B x, with B symmetric."""

    a: Float[Array, " D"]
    B: Float[Array, "D D"]

    def __call__(self, X: Float[Array, "n D"]) -> Float[Array, " n"]:
        return X @ self.a + ((X @ self.B) * X).sum(axis=1)


class Problem(NamedTuple):
    """What one run is given; a pytree, so that runs with different data and knobs lie side by side."""

    X: Float[Array, "P D"]
    y: Float[Array, " P"]
    X_test: Float[Array, "n D"]  # where the alignment of the kernel is measured
    beta: Float[Array, " D"]
    start: Summary  # of the initial weights
    origin: Summary  # whose function is subtracted from the net's: the start's, or nothing
    alpha: Float[Array, ""]
    eps: Float[Array, ""]
    eta0: Float[Array, ""]


def teacher(X: Float[Array, "n D"], beta: Float[Array, " D"]) -> Float[Array, " n"]:
    """y = (beta.x)^2 / 2."""
    return (X @ beta) ** 2 / 2


def initial_weights(seed: int, N: int, D: int) -> Float[np.ndarray, "N D"]:
    """w_i ~ N(0, I)."""
    return numpy_rng(seed, "init").normal(size=(N, D))


def draw_problem(seed: int, D: int, P: int, N: int, alpha: float, eps: float, eta0: float, centred: bool = True, test_points: int = 1000) -> Problem:
    """Teacher, data and initial weights of a seed. They do not depend on the knobs, and more train points only add to fewer."""
    beta = numpy_rng(seed, "teacher").normal(size=D)
    X, X_test = (numpy_rng(seed, name).normal(size=(n, D)) / np.sqrt(D) for name, n in (("train", P), ("test", test_points)))
    start = summarise(initial_weights(seed, N, D))
    origin = start if centred else Summary(np.zeros(D), np.zeros((D, D)))
    return Problem(X, teacher(X, beta), X_test, beta, start, origin, *np.array([alpha, eps, eta0]))


# ---- the net, neuron by neuron ----


def network(W: Float[Array, "N D"], X: Float[Array, "n D"], alpha: float, eps: float) -> Float[Array, " n"]:
    """f(x) = (alpha/N) sum_i phi(w_i.x), phi(h) = h + (eps/2) h^2; the readout weights are fixed to one."""
    h = X @ W.T
    return alpha * (h + eps / 2 * h**2).mean(axis=1)


def network_loss(W: Float[Array, "N D"], problem: Problem) -> Float[Array, ""]:
    """Mean squared error of f - f_0 on the train points; no regularisation."""
    f_0 = function(problem.origin, problem.alpha, problem.eps)(problem.X)
    return ((network(W, problem.X, problem.alpha, problem.eps) - f_0 - problem.y) ** 2).mean()


def network_step(W: Float[Array, "N D"], t: int, problem: Problem) -> Float[Array, "N D"]:
    """Full-batch gradient descent with eta = eta0 N / alpha^2: the kernel phase then lasts equally long for every alpha."""
    return W - problem.eta0 * len(W) / problem.alpha**2 * jax.grad(network_loss)(W, problem)


# ---- its closed dynamics ----


def summarise(W: Float[Array, "N D"]) -> Summary:
    """wbar and M."""
    return Summary(W.mean(axis=0), W.T @ W / len(W))


def function(weights: Summary, alpha: float, eps: float) -> Quadratic:
    """f(x) = alpha wbar.x + (alpha eps/2) x^T M x."""
    return Quadratic(alpha * weights.wbar, alpha * eps / 2 * weights.M)


def predictor(weights: Summary, problem: Problem) -> Quadratic:
    """f - f_0, what is trained."""
    difference = Summary(weights.wbar - problem.origin.wbar, weights.M - problem.origin.M)
    return function(difference, problem.alpha, problem.eps)


def closed_step(weights: Summary, t: int, problem: Problem) -> Summary:
    """What `network_step` does to wbar and M.

    All neurons move by one affine map, w_i' = Q w_i - e u with Q = I - e eps S, u = X^T r, S = X^T diag(r) X, r the residuals and e = 2 eta0 / (alpha P); hence
    wbar' = Q wbar - e u and M' = Q M Q - e (u (Q wbar)^T + (Q wbar) u^T) + e^2 u u^T.
    """
    X, (wbar, M) = problem.X, weights
    P, D = X.shape
    e = 2 * problem.eta0 / (problem.alpha * P)
    r = predictor(weights, problem)(X) - problem.y
    u, S = X.T @ r, (X.T * r) @ X
    Q = jnp.eye(D) - e * problem.eps * S
    moved = Q @ wbar
    cross = jnp.outer(u, moved)
    return Summary(moved - e * u, Q @ M @ Q - e * (cross + cross.T) + e**2 * jnp.outer(u, u))


# ---- losses ----


def test_loss_terms(predicted: Quadratic, beta: Float[Array, " D"]) -> Float[Array, " 3"]:
    """E_x (a.x + x^T B x - (beta.x)^2/2)^2 over x ~ N(0, I/D), in the paper's three terms: variance, misalignment, linear power.

    With C = B - beta beta^T / 2, by Wick's theorem: (tr C)^2 / D^2 + 2 ||C||_F^2 / D^2 + |a|^2 / D.
    """
    D = len(beta)
    C = predicted.B - jnp.outer(beta, beta) / 2
    return jnp.stack([jnp.trace(C) ** 2 / D**2, 2 * (C**2).sum() / D**2, predicted.a @ predicted.a / D])


def train_loss(predicted: Quadratic, problem: Problem) -> Float[Array, ""]:
    return ((predicted(problem.X) - problem.y) ** 2).mean()


# ---- its kernel, and what can be done with the initial one ----


def kernel(weights: Summary, eps: float, X: Float[Array, "n D"], Z: Float[Array, "m D"]) -> Float[Array, "n m"]:
    """N / alpha^2 times the neural tangent kernel: (x.z) [1 + eps wbar.(x + z) + eps^2 x^T M z]."""
    linear = (X @ weights.wbar)[:, None] + (Z @ weights.wbar)[None, :]
    return (X @ Z.T) * (1 + eps * linear + eps**2 * (X @ weights.M @ Z.T))


def combine(c: Float[Array, " P"], problem: Problem) -> Quadratic:
    """The function sum_mu c_mu k(., x_mu) of the initial kernel."""
    X, eps, (wbar, M) = problem.X, problem.eps, problem.start
    a = (c * (1 + eps * X @ wbar)) @ X
    B = eps * jnp.outer(wbar, c @ X) + eps**2 * M @ ((X.T * c) @ X)
    return Quadratic(a, (B + B.T) / 2)


def kernel_regression(problem: Problem) -> Quadratic:
    """The interpolator of the initial kernel, with a ridge of 1e-10 times its mean diagonal."""
    k = kernel(problem.start, problem.eps, problem.X, problem.X)
    P = len(k)
    return combine(jnp.linalg.solve(k + 1e-10 * jnp.trace(k) / P * jnp.eye(P), problem.y), problem)


def linearised(problem: Problem, steps: Float[Array, " T"]) -> Quadratic:
    """The net linearised at its start, after each number of the same gradient steps; a leading axis of length T. If centred, it knows no alpha.

    r_t = (I - (2 eta0 / P) k)^t r_0, so that f_lin adds sum_mu c_mu k(., x_mu) to its start, with c = -k^-1 (I - (I - (2 eta0 / P) k)^t) r_0.
    """
    first = predictor(problem.start, problem)
    eigenvalues, U = jnp.linalg.eigh(kernel(problem.start, problem.eps, problem.X, problem.X))
    eigenvalues = jnp.maximum(eigenvalues, 1e-14 * eigenvalues[-1])  # rounding makes null ones negative
    rate = 2 * problem.eta0 / len(U) * eigenvalues
    fitted = -jnp.expm1(jnp.asarray(steps)[:, None] * jnp.log1p(-rate))
    c = (fitted / eigenvalues * (U.T @ (problem.y - first(problem.X)))) @ U.T  # (T, P)
    return jax.tree.map(jnp.add, jax.vmap(combine, in_axes=(0, None))(c, problem), first)


def alignment(k: Float[Array, "n n"], y: Float[Array, " n"]) -> Float[Array, ""]:
    """CKA(K, y) = y_c^T K_c y_c / (||K_c||_F |y_c|^2), K_c centred on both sides."""
    y = y - y.mean()
    k = k - k.mean(axis=0) - k.mean(axis=1, keepdims=True) + k.mean()
    return y @ k @ y / (jnp.linalg.norm(k) * (y @ y))


# ---- what is measured on the way ----


def measure(weights: Summary, problem: Problem) -> dict[str, Array]:
    """Losses, the trace of M (mean squared norm of a neuron) and the kernel's alignment with the task on test points."""
    predicted, X = predictor(weights, problem), problem.X_test
    return {
        "train_loss": train_loss(predicted, problem),
        "test_terms": test_loss_terms(predicted, problem.beta),
        "trace": jnp.trace(weights.M),
        "alignment": alignment(kernel(weights, problem.eps, X, X), teacher(X, problem.beta)),
    }
