"""The central computation and a whole figure: all subsets in all environments by one elimination tree, against a direct solve for each subset or each pair."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from papers.pac_invariant_representations import model
from papers.pac_invariant_representations.replicate import Config, learning_curves
from shared.seeds import numpy_rng

EPS = 0.3


def stack(m: int, count: int, seed: int = 1000) -> np.ndarray:
    sem = model.draw_sem(m, 2, numpy_rng(seed, "sem"))
    return np.concatenate([model.reference(sem)[None], model.environments(sem, count, numpy_rng(seed, "train"))])


def subsets(m: int):
    return [np.array(T) for size in range(1, m + 1) for T in combinations(range(m), size)]


def batched_distances(S: np.ndarray) -> np.ndarray:
    """One batched solve over the environments for each subset."""
    found = []
    for T in subsets(S.shape[-1] - 1):
        w = np.linalg.solve(S[:, T[:, None], T], S[:, T, -1:])[..., 0]
        found.append(np.linalg.norm(w[1:] - w[0], axis=1))
    return np.array(found)


def plain_distances(S: np.ndarray) -> np.ndarray:
    """One solve for each subset and each environment."""
    found = []
    for T in subsets(S.shape[-1] - 1):
        w = [np.linalg.solve(Sigma[np.ix_(T, T)], Sigma[T, -1]) for Sigma in S]
        found.append([np.linalg.norm(w_e - w[0]) for w_e in w[1:]])
    return np.array(found)


def figure(config: Config, distances: Callable) -> Callable:
    """The learning curves of the dimension sweep for one SEM each."""
    count = config.redraws * max(config.ns) + config.test
    return lambda: [learning_curves(config, distances(stack(m, count)) > EPS)["nu_max"] for m in config.dimensions]


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    few, many = stack(8, 200), stack(10, 1000)
    small = Config(dimensions=(5, 7, 9), redraws=2, test=500)
    return {
        "distances, 255 subsets x 200 environments, against a loop": (lambda: model.deviations(few), lambda: plain_distances(few)),
        "distances, 1023 subsets x 1000 environments, against batched solves": (lambda: model.deviations(many), lambda: batched_distances(many)),
        "learning curves, m = 5, 7, 9, against batched solves": (figure(small, lambda S: model.deviations(S)[0]), figure(small, batched_distances)),
    }
