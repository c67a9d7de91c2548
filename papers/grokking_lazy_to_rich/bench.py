"""The hot loop and a whole figure: the closed dynamics of many runs in one compiled program, against the net itself, neuron by neuron, run after run in NumPy.

The plain side does the same gradient steps on N = 500 neurons with hand-written gradients, and the same train and exact test losses at the same steps. The
closed dynamics know no N. A third case has both sides closed, so that the compiled program alone is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np

from papers.grokking_lazy_to_rich import model
from papers.grokking_lazy_to_rich.replicate import log_schedule
from shared.optim.many import stack_runs, train_many

N, EPS, ETA0 = 500, 0.25, 0.5


def losses(weights: model.Summary, problem: model.Problem):
    predicted = model.predictor(weights, problem)
    return model.train_loss(predicted, problem), model.test_loss_terms(predicted, problem.beta).sum()


def losses_in_numpy(wbar: np.ndarray, M: np.ndarray, problem: model.Problem) -> tuple[float, float]:
    a = problem.alpha * (wbar - problem.origin.wbar)
    B = problem.alpha * problem.eps / 2 * (M - problem.origin.M)
    r = problem.X @ a + np.einsum("pi,ij,pj->p", problem.X, B, problem.X) - problem.y
    C, D = B - np.outer(problem.beta, problem.beta) / 2, len(a)
    return (r**2).mean(), (np.trace(C) ** 2 + 2 * (C**2).sum()) / D**2 + a @ a / D


def net_in_numpy(seed: int, problem: model.Problem, schedule: Sequence[int]) -> np.ndarray:
    """One run, neuron by neuron."""
    alpha, eps, X = problem.alpha, problem.eps, problem.X
    W = model.initial_weights(seed, N, X.shape[1])
    target = problem.y + alpha * (W @ X.T + eps / 2 * (W @ X.T) ** 2).mean(axis=0)
    curve = []
    for t in range(schedule[-1] + 1):
        if t in schedule:
            curve.append(losses_in_numpy(W.mean(axis=0), W.T @ W / N, problem))
        h = W @ X.T
        r = alpha * (h + eps / 2 * h**2).mean(axis=0) - target
        W = W - ETA0 * N / alpha**2 * 2 * alpha / (len(X) * N) * ((1 + eps * h) * r) @ X
    return np.array(curve)


def closed_in_numpy(problem: model.Problem, schedule: Sequence[int]) -> np.ndarray:
    """One run of the closed dynamics, step by step."""
    (wbar, M), X, alpha, eps = problem.start, problem.X, problem.alpha, problem.eps
    e, curve = 2 * ETA0 / (alpha * len(X)), []
    for t in range(schedule[-1] + 1):
        if t in schedule:
            curve.append(losses_in_numpy(wbar, M, problem))
        r = X @ (alpha * (wbar - problem.origin.wbar)) + alpha * eps / 2 * ((X @ (M - problem.origin.M)) * X).sum(axis=1) - problem.y
        u, Q = X.T @ r, np.eye(len(wbar)) - e * eps * (X.T * r) @ X
        moved = Q @ wbar
        cross = np.outer(u, moved)
        wbar, M = moved - e * u, Q @ M @ Q - e * (cross + cross.T) + e**2 * np.outer(u, u)
    return np.array(curve)


def sweep(alphas: Sequence[float], D: int, steps: int, plain: Callable) -> tuple[Callable, Callable]:
    """The alpha sweep on five seeds: in one program, and run after run."""
    schedule, seeds = log_schedule(steps, 40), range(1000, 1005)
    runs = [(seed, model.draw_problem(seed, D, round(5.5 * D), N, alpha, EPS, ETA0, test_points=1)) for alpha in alphas for seed in seeds]

    def ours() -> list[np.ndarray]:
        with jax.enable_x64(True):
            problems = stack_runs([problem for _, problem in runs])
            return [np.asarray(curve) for curve in train_many(model.closed_step, losses, schedule, problems.start, problems)[1]]

    return ours, lambda: [plain(seed, problem, schedule) for seed, problem in runs]


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    return {
        "alpha sweep, 5 alphas x 5 seeds, D = 20, 100 steps, against the net": sweep((0.125, 0.5, 1.0, 2.0, 8.0), 20, 100, net_in_numpy),
        "one alpha, 5 seeds, D = 40, 100 steps, against the net": sweep((1.0,), 40, 100, net_in_numpy),
        "one alpha, 5 seeds, D = 40, 1000 steps, against closed steps in NumPy": sweep((1.0,), 40, 1000, lambda _, *rest: closed_in_numpy(*rest)),
    }
