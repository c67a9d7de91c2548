"""What the reformulations save: the mixture over 2^16 tables as u^T A v against a loop over label sequences that sums over all tables; a whole regret curve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from papers.universality_lens.conjugate import draw_statistics
from papers.universality_lens.model import Prior, bits, draw_margins, log_odds, mixture, named_functions

Q = 0.1


def plain_mixture(prior: Prior, f: int, z: np.ndarray) -> np.ndarray:
    """ln P_f / Q of each row of ``z`` (batch, 2^d), table by table."""
    differing = bits(prior.codes ^ f, 2**prior.d).astype(float)
    return np.array([-np.logaddexp.reduce(np.log(prior.weights) - differing @ (log_odds(Q) * row)) for row in z])


def plain_statistics(rng: np.random.Generator, k: int, sizes: np.ndarray, sequences: int) -> tuple[np.ndarray, np.ndarray]:
    """G and c from all the examples."""
    G, c = np.empty((sequences, len(sizes), k, k)), np.empty((sequences, len(sizes), k))
    for s in range(sequences):
        X, noise = rng.normal(size=(sizes[-1], k)), rng.normal(size=sizes[-1])
        for i, n in enumerate(sizes):
            G[s, i], c[s, i] = X[:n].T @ X[:n], X[:n].T @ noise[:n]
    return G, c


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(2**16, 0.1)) + 1e-12
    prior = Prior(4, np.arange(2**16), weights / weights.sum())
    f = named_functions(4)["x1 AND x2"]
    z = draw_margins(rng, 4, Q, 10, np.geomspace(1, 400, 10).astype(int))
    sizes = np.geomspace(10, 10_000, 13).round().astype(int)
    return {
        "mixture over 65536 tables, 100 label sequences": (lambda: mixture(prior, f, z, Q)[0], lambda: plain_mixture(prior, f, z.reshape(-1, 16))),
        "Gaussian sufficient statistics, 50 sequences of 10000": (
            lambda: draw_statistics(np.random.default_rng(1), 2, sizes, 50),
            lambda: plain_statistics(np.random.default_rng(1), 2, sizes, 50),
        ),
    }
