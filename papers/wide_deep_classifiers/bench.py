"""Deep kernels: all pairs at once against a loop over pairs, the spline against the recursion, and a large Gram matrix in blocks against the whole at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from papers.wide_deep_classifiers.model import ACTIVATIONS, DeepKernel, draw_points, half_squared_distances
from shared.kernels import cosines, gram, nngp

DUAL, DEPTH = ACTIVATIONS["3d_opt"], 100


def loop_over_pairs(X: np.ndarray) -> np.ndarray:
    """The recursion of every pair by itself, on plain numbers, with 1 - rho carried along as the paper's rounding demands."""
    K = np.ones((len(X), len(X)))
    for i in range(len(X)):
        for j in range(i):
            rho, t = float(X[i] @ X[j]), float(((X[i] - X[j]) ** 2).sum()) / 2
            for _ in range(DEPTH):
                if t < 0.5:
                    t = t * (2 - 1.5 * t + 0.5 * t * t)
                    rho = 1 - t
                else:
                    rho = rho * (rho * rho + 1) / 2
                    t = 1 - rho
            K[i, j] = K[j, i] = rho
    return K


def by_recursion(X: np.ndarray, depth: int, rows: int) -> np.ndarray:
    return gram(lambda A, B: nngp(cosines(A, B), DUAL, depth).rho, X, X, rows)


def by_spline(X: np.ndarray) -> np.ndarray:
    """The spline's knots are part of the work."""
    points = torch.from_numpy(X)
    return DeepKernel(DUAL, DEPTH).train(half_squared_distances(points, points)).numpy()


def peak_mib(call: Callable[[], object]) -> float:
    """Most memory held at once during a call."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain). The peaks of memory in a name are measured here, beside the matrix itself of 128 MiB."""
    X = draw_points(4096, 2, np.random.default_rng(0))[0]
    few, some = X[:64], X[:1000]
    assert np.allclose(loop_over_pairs(few), by_recursion(few, DEPTH, 64), rtol=1e-6, atol=0)
    assert np.allclose(by_spline(few), by_recursion(few, DEPTH, 64), rtol=1e-5, atol=0)
    blocks, whole = partial(by_recursion, X, 1, 32), partial(by_recursion, X, 1, len(X))
    return {
        f"{DEPTH} layers, 64 points: all pairs at once, or pair by pair": (partial(by_recursion, few, DEPTH, 64), partial(loop_over_pairs, few)),
        f"{DEPTH} layers, 1000 points: spline, or recursion": (partial(by_spline, some), partial(by_recursion, some, DEPTH, 32)),
        f"one layer, 4096 points: in blocks (peak {peak_mib(blocks):.0f} MiB), or whole ({peak_mib(whole):.0f} MiB)": (blocks, whole),
    }
