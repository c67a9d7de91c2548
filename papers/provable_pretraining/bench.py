"""A whole figure and the central computation, each against plain code.

The figure: the sweep over unlabelled points, phase 1 drawn as one random covariance, against every point drawn. The central computations: the exact expected
excess against the mean over labels drawn anew, and the ridge path with its cross-validation against a solve for each fold and each penalty.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from papers.provable_pretraining.model import LAMBDAS, draw_problem, expected_excess, factor_mle, least_squares_head, posterior_map, ridge, sample_covariance
from shared.seeds import numpy_rng

MS = (100, 400, 1600, 6400)


def floors(draw_covariance: Callable) -> Callable[[], object]:
    """The floor over m, 5 problems each, d = 50."""

    def sweep() -> list[list[float]]:
        rng = numpy_rng(1000, "bench")
        problems = [draw_problem(rng, 50, 3, 2.0, 0.5) for _ in range(5)]
        return [[problem.floor(posterior_map(factor_mle(draw_covariance(rng, problem.S, m), 3))) for problem in problems] for m in MS]

    return sweep


def covariance_of_points(rng: np.random.Generator, S: np.ndarray, m: int) -> np.ndarray:
    X = rng.standard_normal((m, len(S))) @ np.linalg.cholesky(S).T
    return X.T @ X / m


def mean_excess(exact: bool) -> Callable[[], object]:
    """Expected excess of the pretrained head with 100 labels: in closed form, and as a mean of 200 draws."""
    rng = numpy_rng(1000, "bench")
    problem = draw_problem(rng, 50, 3, 2.0, 0.5)
    T = posterior_map(factor_mle(sample_covariance(rng, problem.S, 1000), 3))
    if exact:
        return lambda: expected_excess(problem.floor(T), problem.residual, 3, 100)
    return lambda: float(np.mean([problem.excess(least_squares_head(T, *problem.sample(rng, 100))) for _ in range(200)]))


def ridge_case(path: bool) -> Callable[[], object]:
    """Tuned ridge, 160 labels in 100 dimensions, 2 data sets."""
    rng = numpy_rng(1000, "bench")
    problem = draw_problem(rng, 100, 3, 2.0, 0.5)
    samples = [problem.sample(rng, 160) for _ in range(2)]
    return lambda: [(ridge if path else plain_ridge)(*sample) for sample in samples]


def plain_ridge(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    def solve(X, y, lam):
        return np.linalg.solve(X.T @ X / len(y) + lam * np.eye(X.shape[1]), X.T @ y / len(y))

    errors = []
    for lam in LAMBDAS:
        error = 0.0
        for part in np.array_split(np.arange(len(y)), 5):
            rest = np.setdiff1d(np.arange(len(y)), part)
            error += ((X[part] @ solve(X[rest], y[rest], lam) - y[part]) ** 2).sum()
        errors.append(error)
    return solve(X, y, LAMBDAS[int(np.argmin(errors))])


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    return {
        "floor over m, d = 50, 5 problems, against every point drawn": (floors(sample_covariance), floors(covariance_of_points)),
        "expected excess in closed form, against 200 draws of labels": (mean_excess(True), mean_excess(False)),
        "tuned ridge, d = 100, n = 160, 2 data sets, against single solves": (ridge_case(True), ridge_case(False)),
    }
