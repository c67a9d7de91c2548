"""The hot loops: sweeps of many replicas in one compiled program against a plain NumPy loop, the equations of a whole grid against
point by point, and a whole figure against plain loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from papers.multitasking_hebbian import mean_field, model
from papers.multitasking_hebbian.monte_carlo import heat_bath_many, quench_many
from papers.multitasking_hebbian.replicate import BLOCKS, Config, run
from shared.seeds import jax_keys, numpy_rng

N, T = 20_000, 0.1


def heat_bath_in_numpy(seed: int, A: np.ndarray, scale: float, s: np.ndarray, T: float, sweeps: int) -> np.ndarray:
    """One replica, block after block; the last A s."""
    rng, s, f = np.random.default_rng(seed), s.copy(), A @ s
    for _ in range(sweeps):
        for sites in np.split(np.arange(A.shape[1]), BLOCKS):
            rows = A[:, sites]
            h = scale * (rows.T @ f - (rows**2).sum(axis=0) * s[sites])
            moved = np.where(rng.random(len(sites)) < 1 / (1 + np.exp(-2 * h / T)), 1, -1).astype(np.float32)
            f = f + rows @ (moved - s[sites])
            s[sites] = moved
    return f


def sweeps_case(replicas: int, sweeps: int) -> tuple[Callable, Callable]:
    seeds = range(1000, 1000 + replicas)
    xi = np.stack([model.draw_patterns(numpy_rng(seed, "patterns"), 3, N, 0.8) for seed in seeds])
    s = np.stack([model.random_spins(numpy_rng(seed, "start"), N) for seed in seeds])
    keys = jax_keys(seeds, "heat bath")
    return (
        lambda: heat_bath_many(keys, xi, 1 / N, s, T, sweeps, BLOCKS),
        lambda: [heat_bath_in_numpy(seed, xi[i], 1 / N, s[i], T, sweeps) for i, seed in enumerate(seeds)],
    )


def spin_by_spin(A: np.ndarray, s: np.ndarray) -> np.ndarray:
    """One sweep at T = 0, one spin after another."""
    s, f = s.copy(), A @ s
    for i in range(len(s)):
        push = A[:, i] @ f - A[:, i] @ A[:, i] * s[i]
        moved = np.sign(push) if push else s[i]
        f = f + A[:, i] * (moved - s[i])
        s[i] = moved
    return s


def quench_case(replicas: int) -> tuple[Callable, Callable]:
    """One sweep of unsupervised networks, K = 3, M = 11."""
    seeds = range(1000, 1000 + replicas)
    xi = [model.draw_patterns(numpy_rng(seed, "patterns"), 3, N, 0.3) for seed in seeds]
    A = np.stack(
        [model.unsupervised(model.draw_examples(numpy_rng(seed, "examples"), of_seed, 11, 0.5), 0.5).A for seed, of_seed in zip(seeds, xi, strict=True)]
    )
    s = np.stack([model.hierarchical_spins(numpy_rng(seed, "start"), of_seed) for seed, of_seed in zip(seeds, xi, strict=True)])
    return lambda: quench_many(A, s, 1, BLOCKS), lambda: [spin_by_spin(*of_seed) for of_seed in zip(A, s, strict=True)]


def equations_case(K: int, d: float) -> tuple[Callable, Callable]:
    law, temperatures = mean_field.stored(K, d), (1 - d) * np.linspace(0.05, 1.25, 19)

    def plain() -> list[np.ndarray]:
        ends = []
        for T in temperatures:
            for m in mean_field.starts(K, d):
                for _ in range(5000):
                    after = law.target.T @ np.tanh(law.v @ m / T)
                    m, moved = after, np.abs(after - m).max()
                    if moved <= 1e-10:
                        break
                ends.append(m)
        return ends

    return lambda: mean_field.stable_state(law, K, d, temperatures), plain


def quench_in_numpy(A: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Sweeps at T = 0, block after block, until no spin changes."""
    s, f, changed = s.copy(), A @ s, True
    while changed:
        changed = False
        for sites in np.split(np.arange(A.shape[1]), BLOCKS):
            rows = A[:, sites]
            push = rows.T @ f - (rows**2).sum(axis=0) * s[sites]
            moved = np.where(push == 0, s[sites], np.sign(push))
            changed |= (moved != s[sites]).any()
            f = f + rows @ (moved - s[sites])
            s[sites] = moved
    return s


def figure_case() -> tuple[Callable, Callable]:
    """The whole figure of overlaps against dilution at T = 0: draws, quenches and equations."""
    config, seeds = Config(), range(1000, 1008)
    grid = [(K, d) for K in config.patterns for d in config.dilutions]

    def ours() -> list[list[dict]]:
        return [run(config, {"experiment": "amplitudes", "K": K, "d": d}, seeds, "cpu") for K, d in grid]

    def plain() -> list[np.ndarray]:
        ends = []
        for K, d in grid:
            mean_field.settle(mean_field.stored(K, d), model.hierarchical_amplitudes(K, d)[None], 0.0)
            for seed in seeds:
                xi = model.draw_patterns(numpy_rng(seed, "patterns"), K, config.N, d)
                ends.append(model.overlaps(xi, quench_in_numpy(xi, model.hierarchical_spins(numpy_rng(seed, "start"), xi))))
        return ends

    return ours, plain


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    return {
        "50 heat-bath sweeps of 8 replicas, N = 20 000, K = 3, against NumPy block by block": sweeps_case(8, 50),
        "one T = 0 sweep of 2 unsupervised networks, N = 20 000, 33 rows, against NumPy spin by spin": quench_case(2),
        "one column of the phase diagram, K = 3, 19 temperatures x 6 starts, against point by point": equations_case(3, 0.5),
        "the whole figure of overlaps at T = 0: 27 points x 8 replicas, N = 50 000, draws included, against NumPy block by block": figure_case(),
    }
