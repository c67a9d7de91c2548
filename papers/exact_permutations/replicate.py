"""Exact learning of permutations from the k basis vectors, by thresholding the mean of an ensemble (Giapitzakis, Back de Luca and Fountoulakis, 2025).

Runs five experiments, each in both parametrisations ("ntk", the theorems'; "standard", the official code's): the law of one output in closed form; exact
ensemble sizes against k; ensembles of infinitely wide networks sampled jointly over the paper's 1000 two-hot test inputs; how the ensemble sizes grow up to
k = 400; and ensembles of finite networks trained by gradient descent, over k and over the width.
Hardware and time: the cpu profile needs about two minutes on one core; the gpu profile (the official width 50 000, k to 30) was written for one H200.
The numbers to reach (Fig. 1, official result tables): 90 % accuracy with 69 networks at k = 10, 117 at k = 20, 175 at k = 30.

    python -m papers.exact_permutations.replicate --profile cpu
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from papers.exact_permutations import model
from papers.exact_permutations.model import REGIMES
from papers.exact_permutations.networks import ensembles
from shared.engine import main
from shared.seeds import jax_keys, numpy_rng

CURVE_POINTS = 200
ENUMERABLE = 10  # up to this k a trained ensemble is tested on all 2^k - 1 inputs


@dataclass(frozen=True)
class Config:
    law_k: tuple[int, ...] = (10, 30)
    """Lengths k at which the law of one output is tabulated over the number of ones n."""
    exact_k: tuple[int, ...] = tuple(range(2, 31))
    """Lengths of exact ensemble sizes. Paper: 2 to 30 (Fig. 1 left)."""
    sampled_k: tuple[int, ...] = (5, 10, 15, 20, 25, 30)
    """Lengths of ensembles sampled from the infinite-width law. Paper: 5, 10, ..., 30 (Fig. 1 right)."""
    sampled_nets_ntk: int = 1600
    """Networks of a sampled ensemble, ntk regime. Paper: cap of 5000."""
    sampled_nets_standard: int = 800
    """Networks of a sampled ensemble, standard regime. Paper: cap of 5000; it stopped at 318 at the latest."""
    test_inputs: int = 1000
    """Two-hot test inputs, drawn with replacement. Paper: 1000."""
    growth_k: tuple[int, ...] = (20, 30, 50, 100, 200, 400)
    """Lengths of the growth of ensemble sizes (theorems; the paper's experiments stop at 30)."""
    growth_inputs: int = 500
    """Two-hot test inputs of a growth measurement."""
    growth_sizes: int = 120
    """Ensemble sizes of a growth measurement, spaced geometrically from growth_smallest to growth_largest."""
    growth_smallest: int = 30
    """Smallest ensemble of a growth measurement."""
    growth_largest: int = 60_000
    """Largest ensemble of a growth measurement."""
    net_k: tuple[int, ...] = (4, 6, 8, 10)
    """Lengths of trained ensembles. Paper: 2 to 30."""
    width: int = 2000
    """Hidden units m of the trained networks. Paper: 50 000."""
    nets_ntk: int = 600
    """Networks trained per ensemble, ntk regime."""
    nets_standard: int = 400
    """Networks trained per ensemble, standard regime. Paper: as many as 90 % accuracy takes, 175 at most."""
    sweep_k: int = 6
    """Length of the width sweep."""
    sweep_widths: tuple[int, ...] = (250, 500, 1000, 2000, 4000)
    """Hidden units of the width sweep."""
    tolerance: float = 1e-8
    """Training ends below this mean squared error on the k basis vectors. Paper: 10 000 epochs."""
    nets_at_once: int = 1
    """Networks trained side by side in one program; more than one helps on a GPU only."""

    def sampled_nets(self, regime: str) -> int:
        """Networks of a sampled ensemble."""
        return self.sampled_nets_ntk if regime == "ntk" else self.sampled_nets_standard

    def nets(self, regime: str) -> int:
        """Networks of a trained ensemble."""
        return self.nets_ntk if regime == "ntk" else self.nets_standard


def conditions(config: Config) -> list[dict]:
    """Five experiments, each in both regimes."""
    trained = sorted({(k, config.width) for k in config.net_k} | {(config.sweep_k, m) for m in config.sweep_widths})
    grid = []
    for regime in REGIMES:
        grid += [{"experiment": "law", "regime": regime, "k": k} for k in config.law_k]
        grid += [{"experiment": "exact", "regime": regime}]
        grid += [{"experiment": "sampled", "regime": regime, "k": k} for k in config.sampled_k]
        grid += [{"experiment": "growth", "regime": regime, "k": k} for k in config.growth_k]
        grid += [{"experiment": "networks", "regime": regime, "k": k, "width": m} for k, m in trained]
    return grid


def run(config: Config, condition: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """One row per seed. The closed forms give every seed the same row."""
    regime, k = condition["regime"], condition.get("k")
    match condition["experiment"]:
        case "law":
            return [tabulate_law(k, regime) for _ in seeds]
        case "exact":
            return [exact_sizes(config, regime) for _ in seeds]
        case "sampled":
            return [sample_ensemble(config, k, regime, seed) for seed in seeds]
        case "growth":
            return [measure_growth(config, k, regime, seed) for seed in seeds]
        case "networks":
            return train_ensembles(config, k, regime, condition["width"], seeds, device)
    raise ValueError(f"no experiment {condition['experiment']!r}")


def tabulate_law(k: int, regime: str) -> dict:
    """mu1, mu0 and the standard deviation for n = 1 ... k (there is no target zero at n = k)."""
    n = np.arange(1, k + 1)
    law = model.output_law(k, n, regime)
    return {"ones": n, "law_one": law.one, "law_zero": law.zero, "law_sd": np.sqrt(law.var)}


def exact_sizes(config: Config, regime: str) -> dict:
    """Networks with which one two-hot input is exact with probability 0.9 and 0.999, for every k of Fig. 1."""
    sizes = {goal: [model.networks_for_one_input(k, goal, regime) for k in config.exact_k] for goal in (0.9, 0.999)}
    return {"lengths": np.array(config.exact_k), "exact_90": np.array(sizes[0.9]), "exact_999": np.array(sizes[0.999])}


def sample_ensemble(config: Config, k: int, regime: str, seed: int) -> dict:
    """One ensemble of infinitely wide networks, growing one by one as in the official experiment: its accuracy on the test inputs."""
    P = model.draw_permutation(k, numpy_rng(seed, "permutation"))
    x, times = model.draw_test_inputs(k, 2, config.test_inputs, numpy_rng(seed, "test inputs"))
    sizes = np.arange(1, config.sampled_nets(regime) + 1)
    accuracy = model.sampled_accuracy(P, x, times, sizes, regime, numpy_rng(seed, "ensemble"))
    return growing_ensemble(accuracy, sizes) | {"accuracy_exact": model.prob_exact(thinned(sizes), k, 2, regime).astype(np.float32)}


def growing_ensemble(accuracy: np.ndarray, sizes: np.ndarray) -> dict:
    """What is kept of an ensemble that grew one network at a time."""
    return {
        "sizes": thinned(sizes),
        "accuracy": thinned(accuracy).astype(np.float32),
        "accuracy_single": accuracy[0],
        "accuracy_200": accuracy[sizes == 200][0] if len(sizes) >= 200 else accuracy[-1],
        "n_90": model.first_passage(accuracy, sizes, 0.9),
        "n_999": model.first_passage(accuracy, sizes, 0.999),
    }


def thinned(curve: np.ndarray) -> np.ndarray:
    """At most CURVE_POINTS evenly spaced values of a curve, its ends included."""
    return curve[np.unique(np.linspace(0, len(curve) - 1, CURVE_POINTS).round().astype(int))]


def measure_growth(config: Config, k: int, regime: str, seed: int) -> dict:
    """First ensemble size with 90 % accuracy on a geometric grid of sizes, beside the exact sizes for one input and for all inputs."""
    P = model.draw_permutation(k, numpy_rng(seed, "permutation"))
    x, times = model.draw_test_inputs(k, 2, config.growth_inputs, numpy_rng(seed, "test inputs"))
    sizes = np.unique(np.geomspace(config.growth_smallest, config.growth_largest, config.growth_sizes).round().astype(int))
    accuracy = model.sampled_accuracy(P, x, times, sizes, regime, numpy_rng(seed, "ensemble"))
    return {
        "grown_90": model.first_passage(accuracy, sizes, 0.9),
        "one_input_90": model.networks_for_one_input(k, 0.9, regime),
        "all_inputs_90": model.networks_for_all_inputs(k, 0.1, regime),
    }


def train_ensembles(config: Config, k: int, regime: str, width: int, seeds: tuple[int, ...], device: str) -> list[dict]:
    """Train the ensembles of all seeds in one program; each seed has its own permutation and test inputs."""
    permutations = [model.draw_permutation(k, numpy_rng(seed, "permutation")) for seed in seeds]
    inputs = all_inputs(k) if k <= ENUMERABLE else two_hot_inputs(k)
    with jax.default_device(jax.devices(device)[0]):
        outputs, errors, steps = ensembles(
            jax_keys(seeds, "init"),
            np.stack(permutations).astype(np.float32),
            inputs.astype(np.float32),
            m=width,
            regime=regime,
            N=config.nets(regime),
            tolerance=config.tolerance,
            at_once=config.nets_at_once,
        )
    fitted = {"train_mse": np.max(errors, axis=1), "steps": np.max(steps, axis=1)}
    return [
        judge_ensemble(config, P, inputs, np.asarray(out, dtype=np.float64), regime, width, numpy_rng(seed, "test inputs"))
        | {name: values[i] for name, values in fitted.items()}
        for i, (seed, P, out) in enumerate(zip(seeds, permutations, outputs, strict=True))
    ]


def all_inputs(k: int) -> np.ndarray:
    """All 2^k - 1 nonzero binary inputs, scaled to unit length: (2^k - 1, k)."""
    bits = (np.arange(1, 2**k)[:, None] >> np.arange(k)) & 1
    return bits / np.sqrt(bits.sum(axis=1, keepdims=True))


def two_hot_inputs(k: int) -> np.ndarray:
    """All C(k, 2) inputs with two ones, scaled to unit length."""
    first, second = np.triu_indices(k, 1)
    identity = np.eye(k)
    return (identity[first] + identity[second]) / np.sqrt(2)


def judge_ensemble(config: Config, P: np.ndarray, inputs: np.ndarray, outputs: np.ndarray, regime: str, width: int, rng: np.random.Generator) -> dict:
    """Accuracies of one trained ensemble and moments of its outputs (N, U, k) on the inputs (U, k), beside the closed form."""
    N, _, k = outputs.shape
    sizes = np.arange(1, N + 1)
    target = inputs @ P.T > 0  # (U, k)
    running = np.cumsum(outputs, axis=0) / sizes[:, None, None]
    exact = ((running > 0) == target).all(axis=2)  # (N, U)
    ones = target.sum(axis=1)

    two_hot = np.flatnonzero(ones == 2)
    drawn = rng.choice(two_hot, size=config.test_inputs)  # with replacement, as in the official code
    on_ones, on_zeros = outputs[:, two_hot][:, target[two_hot]], outputs[:, two_hot][:, ~target[two_hot]]  # (N, positions)
    limit, drift = model.output_law(k, 2, regime), model.output_law(k, 2, regime, width)
    accuracy = exact[:, drawn].mean(axis=1)
    formula_90 = model.networks_for_one_input(k, 0.9, regime)
    row = growing_ensemble(accuracy, sizes) | {
        "mean_one": on_ones.mean(),
        "mean_zero": on_zeros.mean(),
        "sd": np.sqrt(outputs[:, two_hot].var(axis=0, ddof=1).mean()),
        "limit_one": limit.one,
        "limit_zero": limit.zero,
        "limit_sd": np.sqrt(limit.var),
        "drift_one": drift.one,
        "drift_zero": drift.zero,
        "accuracy_at_formula": accuracy[min(formula_90, N) - 1],  # with as many networks as the formula wants for 0.9
    }
    if k <= ENUMERABLE:
        mean, between = running[-1], (ones >= 2) & (ones < k)
        one_side = np.where(target, mean, 0.0).sum(axis=1)[between] > 0
        zero_side = np.where(target, 0.0, mean).sum(axis=1)[between] < 0
        row |= {
            "accuracy_unseen": exact[-1, ones >= 2].mean(),
            "accuracy_trained": exact[-1, ones == 1].mean(),
            "sign_features": (one_side & zero_side).mean(),
        }
    return row


if __name__ == "__main__":
    main(__file__)
