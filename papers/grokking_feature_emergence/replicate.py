"""Provable Scaling Laws of Feature Emergence from Learning Dynamics of Grokking (Tian, 2025), replicated.

What is run: two-layer nets on group multiplication tables. (A) grokking curves for four weight decays, (B) the phase diagram of memorising and
generalising over group order and train fraction, (C) ascents of the energy E, (D) the back-propagated signal at random and at ridge-optimal top layers,
(E) Muon against Adam on W.
Hardware: two CPU cores; a few minutes for the cpu profile.
The number to reach: nets generalise from a fraction p = kappa ln(M)/M of the pairs on, kappa near the authors' 2.7482, whatever the order M.

    python -m papers.grokking_feature_emergence.replicate --profile cpu
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from papers.grokking_feature_emergence.model import (
    Params,
    Problem,
    State,
    centre,
    centred_labels,
    critical_fraction,
    group_table,
    init_params,
    init_state,
    measurement,
    preactivations,
    random_split,
    training_step,
)
from papers.grokking_feature_emergence.theory import (
    ascent_metrics,
    ascent_step,
    frequencies_carried,
    lazy_cosines,
    peak_fraction,
    peaks,
    strongest_nodes,
    unit_columns,
)
from shared.engine import main
from shared.optim.many import stack_runs, train_many
from shared.seeds import numpy_rng


@dataclass(frozen=True)
class Config:
    lr: float = 0.01
    """Step size of Adam and of Muon, constant. Official sweep: 0.01."""
    activation: str = "square"
    """sigma: square (the paper's main case), relu, silu or relu2."""

    curve_order: int = 23
    """A: order M of the cyclic group. Paper: 71."""
    curve_width: int = 256
    """A: hidden nodes K. Paper: 2048."""
    curve_fraction: float = 0.5
    """A: train fraction p. Paper: 0.4 at M = 71."""
    curve_decays: tuple[float, ...] = (0.0, 1e-5, 2e-4, 5e-4)
    """A: weight decays, coupled L2. Official sweep: 1e-5 to 5e-4."""
    curve_steps: int = 1500
    """A: full-batch steps. Paper: 10 000."""
    curve_every: int = 10
    """A: steps between evaluations."""

    phase_groups: tuple[str, ...] = ("Z11", "Z17", "Z23", "Z31")
    """B: groups. Paper: cyclic up to Z127, products, and S4."""
    phase_widths: tuple[int, ...] = (128, 192, 256, 320)
    """B: hidden nodes for each group. Paper: 2048."""
    phase_kappas: tuple[float, ...] = (1.5, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5)
    """B: constants kappa in p = kappa ln(M)/M; the authors' code has 2.7482."""
    phase_decay: float = 5e-4
    """B: weight decay. Official sweep: up to 5e-4."""
    phase_steps: int = 1500
    """B: full-batch steps. Paper: 10 000."""

    landscape_orders: tuple[int, ...] = (7, 11, 13)
    """C: odd orders M of the cyclic groups."""
    landscape_kappas: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0)
    """C: data, as constants kappa in p = kappa ln(M)/M (at most 0.9), beside the full table."""
    landscape_starts: int = 64
    """C: random unit vectors that E is climbed from."""
    landscape_steps: int = 2000
    """C: steps of projected gradient ascent."""

    lazy_order: int = 23
    """D: order M of the cyclic group."""
    lazy_widths: tuple[int, ...] = (256, 1024, 4096)
    """D: hidden nodes K of the random features."""
    lazy_etas: tuple[float, ...] = (1e-3, 1.0, 100.0)
    """D: ridge strengths in units of ||F~||_F^2 / n."""

    muon_order: int = 31
    """E: order M of the cyclic group. Larger runs: 71."""
    muon_widths: tuple[int, ...] = (16, 24, 32, 64)
    """E: hidden nodes K, few."""
    muon_fraction: float = 0.6
    """E: train fraction p."""
    muon_decay: float = 2e-4
    """E: weight decay."""
    muon_steps: int = 1500
    """E: full-batch steps."""


def conditions(config: Config) -> list[dict]:
    curve = {"experiment": "curve", "group": f"Z{config.curve_order}", "width": config.curve_width, "labels": "true"}
    grid = [curve | {"decay": decay} for decay in config.curve_decays]
    grid += [curve | {"decay": config.curve_decays[-1], "labels": "permuted"}]  # control: nothing to generalise to
    for group, width in zip(config.phase_groups, config.phase_widths, strict=True):
        grid += [{"experiment": "phase", "group": group, "width": width, "kappa": kappa} for kappa in config.phase_kappas]
    for M in config.landscape_orders:
        grid += [{"experiment": "landscape", "group": f"Z{M}", "pairs": "all"}]
        grid += [{"experiment": "landscape", "group": f"Z{M}", "pairs": "subset", "kappa": kappa} for kappa in config.landscape_kappas]
    grid += [{"experiment": "lazy", "group": f"Z{config.lazy_order}", "width": width} for width in config.lazy_widths]
    for width in config.muon_widths:
        grid += [{"experiment": "muon", "group": f"Z{config.muon_order}", "width": width, "optimiser": name} for name in ("adam", "adamw", "muon")]
    return grid


def run(config: Config, condition: dict, seeds: Sequence[int], device: str) -> list[dict]:
    experiments = {"curve": run_curve, "phase": run_phase, "landscape": run_landscape, "lazy": run_lazy, "muon": run_muon}
    with jax.default_device(jax.devices({"cpu": "cpu", "cuda": "gpu"}[device])[0]):
        metrics = experiments[condition["experiment"]](config, condition, seeds)
        metrics = {name: np.asarray(values) for name, values in metrics.items()}
    return [{name: values[i] for name, values in metrics.items()} for i in range(len(seeds))]


def train(
    group: str, K: int, fraction: float, seeds: Sequence[int], *, lr: float, wd: float, schedule: Sequence[int], activation: str = "square",
    optimiser: str = "adam", permute_labels: bool = False,
) -> tuple[State, State, dict]:  # fmt: skip
    """One training run per seed, all in one program: first states, last states, leaves (seeds, ...), and curves (seeds, len(schedule)).

    Conditions that differ in decay, fraction or optimiser start from the same draws and are compared seed by seed.
    """
    labels = group_table(group).ravel()
    M = math.isqrt(len(labels))
    states, problems = [], []
    for seed in seeds:
        own_labels = numpy_rng(seed, "labels").permutation(labels) if permute_labels else labels
        problems.append(Problem(own_labels, random_split(numpy_rng(seed, "split"), M, fraction), np.float32(lr), np.float32(wd)))
        states.append(init_state(numpy_rng(seed, "init"), M, K))
    first, problem = stack_runs(states), stack_runs(problems)
    last, curves = train_many(training_step(activation, optimiser), measurement(activation), schedule, first, problem)
    return first, last, curves


def sustained(accuracy: np.ndarray, level: float, steps: np.ndarray, evaluations: int = 3) -> np.ndarray:
    """First of ``steps`` from which ``accuracy`` (seeds, len(steps)) stays at ``level`` or more for three evaluations; -1 if none."""
    reached = np.lib.stride_tricks.sliding_window_view(accuracy >= level, evaluations, axis=1).all(axis=2)
    return np.where(reached.any(axis=1), steps[reached.argmax(axis=1)], -1)


def run_curve(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """A. The whole course of training, and the Fourier powers of the hidden nodes before and after it."""
    steps = np.arange(config.curve_every, config.curve_steps + 1, config.curve_every)
    first, last, curves = train(
        condition["group"], condition["width"], config.curve_fraction, seeds, lr=config.lr, wd=condition["decay"], schedule=steps,
        activation=config.activation, permute_labels=condition["labels"] == "permuted",
    )  # fmt: skip
    curves = {name: np.asarray(curve) for name, curve in curves.items()}
    kept = np.unique(np.geomspace(1, len(steps), 45).round().astype(int)) - 1  # what the record holds: points evenly spaced on a log axis
    return {
        "step_train": sustained(curves["train_accuracy"], 0.99, steps),
        "step_test": sustained(curves["test_accuracy"], 0.95, steps),
        "final_test_accuracy": curves["test_accuracy"][:, -1],
        "final_train_accuracy": curves["train_accuracy"][:, -1],
        "peak_fraction": peak_fraction(last.params.W),
        "power_before": np.stack([strongest_nodes(W, 18) for W in first.params.W]),
        "power_after": np.stack([strongest_nodes(W, 18) for W in np.asarray(last.params.W)]),
        "steps": np.tile(steps[kept], (len(seeds), 1)),
    } | {f"curve_{name}": curve[:, kept] for name, curve in curves.items()}


def run_phase(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """B. Where training ends, for one group and one train fraction p = kappa ln(M)/M."""
    p = critical_fraction(condition["group"], condition["kappa"])
    _, _, curves = train(
        condition["group"], condition["width"], p, seeds, lr=config.lr, wd=config.phase_decay, schedule=[config.phase_steps], activation=config.activation
    )
    return {
        "train_fraction": np.full(len(seeds), p),
        "final_test_accuracy": curves["test_accuracy"][:, -1],
        "final_train_accuracy": curves["train_accuracy"][:, -1],
    }


def run_landscape(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """C. Where ascents of E from random unit vectors end, on all pairs or on a random subset of them."""
    labels = group_table(condition["group"]).ravel()
    M = math.isqrt(len(labels))
    p = 1.0 if condition["pairs"] == "all" else critical_fraction(condition["group"], condition["kappa"])
    Y = np.stack([centred_labels(labels, random_split(numpy_rng(seed, "split"), M, p), M) for seed in seeds])
    starts = np.stack([unit_columns(numpy_rng(seed, "starts").normal(size=(2 * M, config.landscape_starts))) for seed in seeds])
    W, ends = train_many(ascent_step, ascent_metrics, [config.landscape_steps], starts, Y)
    peak = peaks(W)  # (seeds, starts)
    return {
        "train_fraction": np.full(len(seeds), p),
        "single_mode": (peak > 0.95).mean(axis=1),
        "peaks": peak,
        "energies": ends["energy"][:, 0],
        "largest_slope": ends["slope"][:, 0].max(axis=1),
    }


def run_lazy(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """D. How closely G_F points along Y~ Y~^T F, at the random top layer and at ridge-optimal ones."""
    labels = group_table(condition["group"]).ravel()
    M = math.isqrt(len(labels))
    everything = np.ones(len(labels), dtype=np.float32)
    Y = centred_labels(labels, everything, M)

    @jax.jit
    def one_seed(params: Params) -> Float[Array, " layers"]:
        F = centre(jnp.square(preactivations(params.W)), everything)
        return lazy_cosines(F, Y, params.V, jnp.array(config.lazy_etas))

    cosines = np.stack([one_seed(init_params(numpy_rng(seed, "init"), M, condition["width"])) for seed in seeds])
    return {"cosine_random": cosines[:, 0], "cosines_ridge": cosines[:, 1:]}


def run_muon(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E. A net with few hidden nodes: does the optimiser of W spread them over the frequencies?"""
    _, last, curves = train(
        condition["group"], condition["width"], config.muon_fraction, seeds, lr=config.lr, wd=config.muon_decay, schedule=[config.muon_steps],
        activation=config.activation, optimiser=condition["optimiser"],
    )  # fmt: skip
    return {
        "final_test_accuracy": curves["test_accuracy"][:, -1],
        "final_train_accuracy": curves["train_accuracy"][:, -1],
        "frequencies": frequencies_carried(last.params.W),
    }


if __name__ == "__main__":
    main(__file__)
