"""Parallel Learning by Multitasking Neural Networks (Agliari, Alessandrelli, Barra, Ricci-Tersenghi, 2023), replicated.

What is run: (amplitudes, critical) retrieval at T = 0 over the dilution d, and the dilution where its hierarchy breaks; (phase, onset) the
self-consistency equations over dilution and temperature, with (thermal) heat-bath Monte Carlo beside them; (learning) retrieval by networks that saw noisy
examples, with and without a teacher, beside the equations with exact binomial averages; (descent) energy and loss of every pattern, sweep by sweep.
Hardware: one CPU core; a few minutes for the cpu profile.
The number to reach: none is printed; for K = 3 the model implies a hierarchy up to d = 0.618.

    python -m papers.multitasking_hebbian.replicate --profile cpu
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np
from annotated_types import Ge, Gt, Interval, Le, Len, MultipleOf

from papers.multitasking_hebbian import mean_field, model
from papers.multitasking_hebbian.monte_carlo import heat_bath_many, quench_many
from shared.engine import main
from shared.seeds import jax_keys, numpy_rng

BLOCKS = 10
STRONG, WARM = 0.8, 0.5  # dilution and T / T_c of the parallel regime's claim
COOL = 0.3  # T / T_c of the descents
NEAR = 0.98  # T / T_c where the onset of the parallel regime is sought

Spins = Annotated[int, Ge(100), MultipleOf(BLOCKS)]
Count = Annotated[int, Ge(1)]
Few = Annotated[int, Interval(ge=2, le=5)]
Dilution = Annotated[float, Interval(gt=0, lt=1)]
Positive = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class Config:
    N: Spins = 50_000
    """Spins. The paper's own number was not found."""
    N_large: Spins = 200_000
    """Spins where fluctuations matter most: the parallel regime's claim and the critical dilution."""
    patterns: Annotated[tuple[Few, ...], Len(1)] = (2, 3, 5)
    """Numbers of patterns K of the T = 0 amplitudes."""
    dilutions: Annotated[tuple[Dilution, ...], Len(1)] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Dilutions d of the T = 0 amplitudes."""
    law_K: Few = 4
    """Patterns of the geometric law's claim, at d = 0.5."""
    critical_patterns: Annotated[tuple[Annotated[int, Interval(ge=3, le=7)], ...], Len(1)] = (3, 4, 5)
    """Numbers of patterns for which the critical dilution is sought (with two there is none)."""
    bisections: Count = 9
    """Halvings of the interval of dilutions in which it is sought, from 0.4 to 0.8."""
    quench_limit: Count = 200
    """Sweeps at T = 0 at most."""

    phase_patterns: Annotated[tuple[Few, ...], Len(1)] = (3, 5)
    """Numbers of patterns of the phase diagram."""
    phase_points: Annotated[int, Ge(2)] = 19
    """Dilutions (0.05 to 0.95) and temperatures (0.05 to 1.25 T_c) of its grid."""
    thermal_dilutions: Annotated[tuple[Dilution, ...], Len(1)] = (0.2, 0.4, 0.6, 0.8)
    """Dilutions at which Monte Carlo is run beside it."""
    thermal_temperatures: Annotated[tuple[Positive, ...], Len(1)] = (0.1, 0.4, 0.7)
    """Temperatures of these, in units of T_c = 1 - d."""
    burn_in: Count = 100
    """Sweeps before the average."""
    averaged: Count = 200
    """Sweeps averaged over."""

    N_learning: Spins = 20_000
    """Spins of the networks that learn."""
    learning_patterns: Annotated[tuple[Annotated[int, Interval(ge=1, le=3)], ...], Len(1)] = (1, 3)
    """Numbers of patterns to learn; (M + 2)^K states are summed over."""
    threshold_K: Annotated[int, Interval(ge=1, le=3)] = 2
    """Patterns of the learning threshold's claim, at r = 0.2, d = 0.3."""
    examples: Annotated[tuple[Annotated[int, Ge(1), Le(301)], ...], Len(1)] = (1, 3, 5, 11, 25, 51, 101)
    """Examples M of every pattern; odd, so that no average is a tie."""
    qualities: Annotated[tuple[Annotated[float, Interval(gt=0, le=1)], ...], Len(1)] = (0.2, 0.5)
    """Qualities r of the examples."""
    learning_dilutions: Annotated[tuple[Dilution, ...], Len(1)] = (0.3, 0.8)
    """Dilutions at which examples are learned."""

    descent_sweeps: Count = 100
    """Sweeps of the descents from a random start."""


def conditions(config: Config) -> list[dict]:
    grid = [{"experiment": "amplitudes", "K": K, "d": d} for K in config.patterns for d in config.dilutions]
    grid += [{"experiment": "amplitudes", "K": config.law_K, "d": 0.5}]
    grid += [{"experiment": "critical", "K": K} for K in config.critical_patterns]
    grid += [{"experiment": "phase", "K": K, "d": d} for K in config.phase_patterns for d in phase_dilutions(config)]
    grid += [{"experiment": "onset", "K": K} for K in config.phase_patterns]
    grid += [
        {"experiment": "thermal", "K": K, "d": d, "T": T, "start": start, "N": config.N}
        for K in config.phase_patterns
        for d in config.thermal_dilutions
        for T in config.thermal_temperatures
        for start in ("hierarchical", "random")
    ]
    parallel = {"experiment": "thermal", "K": 3, "d": STRONG, "T": WARM, "start": "random", "N": config.N_large}
    grid += [parallel, parallel | {"d": 0.0}]  # and the undiluted network beside it
    learning = [(K, d, r) for K in config.learning_patterns for d in config.learning_dilutions for r in config.qualities] + [(config.threshold_K, 0.3, 0.2)]
    grid += [{"experiment": "learning", "K": K, "M": M, "d": d, "r": r} for M in config.examples for K, d, r in learning]
    grid += [{"experiment": "descent", "K": 3, "d": d} for d in (0.3, STRONG)]
    return [condition for i, condition in enumerate(grid) if condition not in grid[:i]]


def phase_dilutions(config: Config) -> list[float]:
    return np.linspace(0.05, 0.95, config.phase_points).round(4).tolist()


def phase_temperatures(config: Config) -> np.ndarray:
    """In units of T_c."""
    return np.linspace(0.05, 1.25, config.phase_points)


def run(config: Config, condition: dict, seeds: Sequence[int], device: str) -> list[dict]:
    experiments = {
        "amplitudes": run_amplitudes,
        "critical": run_critical,
        "phase": run_phase,
        "onset": run_onset,
        "thermal": run_thermal,
        "learning": run_learning,
        "descent": run_descent,
    }
    with jax.default_device(jax.devices({"cpu": "cpu", "cuda": "gpu"}[device])[0]):
        metrics = experiments[condition["experiment"]](config, condition, seeds)
    return [{name: values[i] for name, values in metrics.items()} for i in range(len(seeds))]


def descending(m: np.ndarray) -> np.ndarray:
    """|m| with the largest first: patterns are retrieved up to their order and signs."""
    return -np.sort(-np.abs(m), axis=-1)


def repeated(value, seeds: Sequence[int]) -> np.ndarray:
    """What does not depend on the seed, once for each."""
    return np.stack([np.asarray(value)] * len(seeds))


def draw(seeds: Sequence[int], K: int, N: int, d: float | Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Patterns (seeds, K, N) and their hierarchical configurations (seeds, N); d may differ between seeds."""
    dilutions = np.broadcast_to(d, len(seeds))
    xi = np.stack([model.draw_patterns(numpy_rng(seed, "patterns"), K, N, of_seed) for seed, of_seed in zip(seeds, dilutions, strict=True)])
    return xi, np.stack([model.hierarchical_spins(numpy_rng(seed, "start"), patterns) for seed, patterns in zip(seeds, xi, strict=True)])


def overlaps(xi: np.ndarray, s: np.ndarray) -> np.ndarray:
    """(seeds, K), from xi (seeds, K, N) and s (seeds, N)."""
    return np.stack([model.overlaps(*of_seed) for of_seed in zip(xi, s, strict=True)])


def run_amplitudes(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E1. Overlaps where T = 0 dynamics from the hierarchical configuration stops, and those of the equations."""
    K, d = condition["K"], condition["d"]
    xi, s = draw(seeds, K, config.N, d)
    s, sweeps = quench_many(xi, s, config.quench_limit, BLOCKS)
    law = mean_field.stored(K, d)
    theory = mean_field.settle(law, model.hierarchical_amplitudes(K, d)[None], 0.0)[0]
    return {"overlaps": descending(overlaps(xi, s)), "sweeps": sweeps, "theory": repeated(descending(theory), seeds)}


def run_critical(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E1. Bisection for the largest dilution at which pattern 1 stays whole, m_1 > 0.99 N_1 / N; by Monte Carlo, and for the equations."""
    K = condition["K"]

    def sampled(d: np.ndarray) -> np.ndarray:
        xi, s = draw(seeds, K, config.N_large, d)
        s, _ = quench_many(xi, s, config.quench_limit, BLOCKS)
        return overlaps(xi, s)[:, 0] > 0.99 * np.abs(xi[:, 0]).mean(axis=1)

    def predicted(d: np.ndarray) -> np.ndarray:
        m = mean_field.settle(mean_field.stored(K, d[0]), model.hierarchical_amplitudes(K, d[0])[None], 0.0)
        return m[:, 0] > 0.99 * (1 - d)

    return {
        "critical_dilution": bisect(sampled, np.full(len(seeds), 0.4), np.full(len(seeds), 0.8), config.bisections),
        "theory": repeated(bisect(predicted, np.array([0.4]), np.array([0.8]), config.bisections)[0], seeds),
    }


def bisect(below: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, halvings: int) -> np.ndarray:
    """Where ``below`` turns from true to false, for several searches side by side."""
    for _ in range(halvings):
        middle = (low + high) / 2
        holds = below(middle)
        low, high = np.where(holds, middle, low), np.where(holds, high, middle)
    return (low + high) / 2


def run_phase(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E2. The overlaps of least free energy at every temperature; exact, the same for all seeds."""
    K, d = condition["K"], condition["d"]
    T = (1 - d) * phase_temperatures(config)
    return {"stable": repeated(mean_field.stable_state(mean_field.stored(K, d), K, d, T), seeds)}


def run_onset(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E2. Bisection for the dilution above which, just below T_c, all K overlaps of least free energy are equal; exact."""
    K = condition["K"]

    def unequal(d: np.ndarray) -> np.ndarray:
        m = mean_field.stable_state(mean_field.stored(K, d[0]), K, d[0], NEAR * (1 - d))
        return m[:, -1] < 0.99 * m[:, 0]

    return {"onset": repeated(bisect(unequal, np.array([0.5]), np.array([0.9]), config.bisections)[0], seeds)}


def warm_run(condition: dict, seeds: Sequence[int], N: int, T: float, start: str, sweeps: int) -> tuple[np.ndarray, np.ndarray]:
    """Heat bath at T (in units of T_c): overlaps before and after every sweep (seeds, 1 + sweeps, K), and the supports N_mu / N (seeds, K)."""
    K, d = condition["K"], condition["d"]
    xi, s = draw(seeds, K, N, d)
    if start == "random":
        s = np.stack([model.random_spins(numpy_rng(seed, "start"), N) for seed in seeds])
    _, trace = heat_bath_many(jax_keys(seeds, "heat bath"), xi, 1 / N, s, T * (1 - d), sweeps, BLOCKS)
    return np.concatenate([overlaps(xi, s)[:, None], trace / N], axis=1), np.abs(xi).mean(axis=2)


def run_thermal(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E2. Time-averaged overlaps at a temperature, and those of the equations: followed from the hierarchical start, and those of least free energy."""
    K, d, T = condition["K"], condition["d"], condition["T"]
    m, _ = warm_run(condition, seeds, condition["N"], T, condition["start"], config.burn_in + config.averaged)
    law, T = mean_field.stored(K, d), np.array([T * (1 - d)])
    followed = mean_field.settle(law, model.hierarchical_amplitudes(K, d)[None], T)[0]
    return {
        "overlaps": descending(m[:, 1 + config.burn_in :].mean(axis=1)),
        "followed": repeated(descending(followed), seeds),
        "stable": repeated(mean_field.stable_state(law, K, d, T)[0], seeds),
    }


def run_learning(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E3. Overlaps with the patterns, T = 0 from the hierarchical configuration, of both rules on the same examples; and those of the equations."""
    K, M, d, r = condition["K"], condition["M"], condition["d"], condition["r"]
    xi, s = draw(seeds, K, config.N_learning, d)
    eta = [model.draw_examples(numpy_rng(seed, "examples"), patterns, M, r) for seed, patterns in zip(seeds, xi, strict=True)]
    metrics = {}
    for rule in (model.supervised, model.unsupervised):
        A = np.stack([rule(of_seed, r).A for of_seed in eta])
        metrics[rule.__name__] = overlaps(xi, quench_many(A, s, config.quench_limit, BLOCKS)[0])
    law = mean_field.learned(K, d, M, r)
    start = r / np.sqrt(model.normaliser(M, r)) * model.hierarchical_amplitudes(K, d)  # n_mu = E[v^mu s] of the hierarchical configuration
    n = mean_field.settle(law, start[None], 0.0)
    return metrics | {"theory": repeated(mean_field.overlaps(law, n, 0.0)[0], seeds)}


def run_descent(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E4. Energy per spin and L_mu = min(L_mu^+, L_mu^-) from a random start."""
    m, support = warm_run(condition, seeds, config.N, COOL, "random", config.descent_sweeps)
    return {"energy": model.energy_per_spin(m), "losses": np.minimum(*model.losses(m, support[:, None]))}


if __name__ == "__main__":
    main(__file__)
