"""One call of the fit's objective and slope, compiled, beside the same in plain NumPy with the slope by finite differences."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from papers.icl_rational_strategies import fit
from papers.icl_rational_strategies.model import Learner, Strategies


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    rng = np.random.default_rng(0)
    T, M, G = (rng.dirichlet(np.ones(8), size=shape) for shape in ((20, 4, 32, 16), (4, 32, 16), (4, 32, 16)))
    known = Strategies(np.full(4, 0.02), np.full(4, 0.1), np.geomspace(2e3, 2e4, 4), np.full(4, 600.0))
    N = np.linspace(5, 60, 20) ** 2
    point = np.array([0.6, 0.2, 0.85])
    with jax.enable_x64(True):
        cells = jax.tree.map(jnp.asarray, fit.Cells(N, known, T, M, G))

    def ours():
        with jax.enable_x64(True):
            return jax.block_until_ready(fit.loss_and_slope(Learner(*point), cells))

    def loss(point: np.ndarray) -> float:
        alpha, beta, gamma = point
        evidence = gamma * N[:, None] ** (1 - alpha) * (known.loss_G - known.loss_M)
        w = 1 / (1 + np.exp(np.log(2) * (known.bits_M**beta - known.bits_G**beta) - evidence))
        Q = w[:, :, None, None, None] * M + (1 - w)[:, :, None, None, None] * G
        return float((T * np.log(T / Q)).sum(-1).mean())

    def plain():
        here = loss(point)
        return here, [(loss(point + step) - here) / 1e-6 for step in 1e-6 * np.eye(3)]

    return {"objective and slope": (ours, plain)}
