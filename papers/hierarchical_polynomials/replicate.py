"""Learning Hierarchical Polynomials with Three-Layer Neural Networks (Wang, Nichani and Lee, ICLR 2024).

Runs, on quadratic features p with a quadratic link g: test error against the number of samples n = ratio * d^2 for the layerwise three-layer network, two
kernels, random features and an oracle that knows p; the correlation of stage 1 with p over more dimensions; the approximate Stein lemma by Monte Carlo; a
negative control with E[g'] = 0; stage 1 with relu in place of its polynomial; gradient descent against the closed forms. On a GPU also cubic features, sparse
parities, and a two-layer network trained by Adam.
Hardware and time: the cpu profile needs a few minutes on two cores; the gpu profile was written for one H200.
The number to reach: n of order d^2 samples, where kernels need d^4 (Theorem 1, k = q = 2).

    python -m papers.hierarchical_polynomials.replicate --profile cpu
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from papers.hierarchical_polynomials import baselines, model, targets
from shared.engine import main, per_seed
from shared.engine.errors import RequestError
from shared.seeds import numpy_rng

NETWORK = "three-layer network"
RELU_NETWORK = "three-layer network, relu"
TRAINED = "trained two-layer network"
RIDGES = tuple(10 ** (e / 2) for e in range(-8, 3))
"""1e-4 ... 10 in half decades, added to the Gram matrix of a kernel or of random features."""
NETWORK_RIDGES = RIDGES[::2]
"""Those of stage 1, in whole decades: each of them costs a second stage."""
LAMS2 = tuple(10.0**e for e in range(-5, 1))
"""lam2 of stage 2."""
DESCENT_LAMS2 = LAMS2[-2:]
"""0.1 and 1: lam2 with which gradient descent on stage 2 converges; below, T2 of the order of 1 / lam2 would be needed."""
SCATTERED = 150
"""Test points of which the record keeps p, g_u and h_theta."""


@dataclass(frozen=True)
class Config:
    dims: tuple[int, ...] = (16, 28)
    """Dimensions d (even) at which all methods are compared."""
    recovery_dims: tuple[int, ...] = (16, 28, 40)
    """d (even) with the three-layer network alone, for the exponent of d."""
    recovery_draws: tuple[int, ...] = (16, 2, 2)
    """For each of these, independent targets, samples and layers of a seed, averaged: more at small d, where chance weighs most and a trial is cheap."""
    recovery_ratios: tuple[float, ...] = (2, 3, 4, 6)
    """n / d^2 for the exponent: closely around the level at which n is read."""
    max_recovery_samples: int = 6400
    """Largest n for the exponent; the level is reached at smaller n / d^2 at larger d."""
    ratios: tuple[float, ...] = (1, 2, 4, 8, 16)
    """n / d^k; n counts all labelled samples."""
    max_samples: int = 16_384
    """Largest n; ratios beyond it are left out."""
    max_kernel_samples: int = 8192
    """Largest n of the two kernels and of random features."""
    width_factor: float = 2.0
    """m1 in units of the number of monomials of degree <= k."""
    min_width: int = 400
    """Smallest m1."""
    m2: int = 300
    """Units of the second hidden layer."""
    validation: int = 2000
    """Points on which the penalties are chosen."""
    test: int = 10_000
    """Fresh points for test errors and correlations."""
    control_ratio: float = 8
    """n / d^2 of the negative control, and of relu in the first layer at the smallest of dims."""
    stein_dims: tuple[int, ...] = (8, 16, 32, 64, 128)
    """Dimensions (even) of the approximate Stein lemma."""
    stein_points: int = 250_000
    """Monte Carlo points for each."""
    descent_dim: int = 16
    """d of gradient descent against the closed forms, with n = 8 d^2."""
    descent_steps: int = 30_000
    """T1 = T2, steps of gradient descent."""
    cubic_dims: tuple[int, ...] = ()
    """d (even, multiples of 3) of cubic features k = 3 and of sparse parities of three; empty leaves them out."""
    cubic_ratios: tuple[float, ...] = (1, 2, 4, 8)
    """n / d^3 of these."""
    trained_width: int = 0
    """Units of the two-layer network trained by Adam; 0 leaves it out."""
    trained_steps: int = 3000
    """Its full-batch steps."""
    trained_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    """Its step sizes, chosen on validation data."""

    def samples(self, ratio: float, d: int, k: int) -> int:
        """n, even."""
        return 2 * round(ratio * d**k / 2)

    def m1(self, d: int, k: int) -> int:
        """Units of the first hidden layer."""
        return max(self.min_width, math.ceil(self.width_factor * math.comb(d + k, k)))


def conditions(config: Config) -> list[dict]:
    """The grid; RequestError for values that no experiment can use."""
    check(config)
    methods = [NETWORK, "random features", "oracle", *baselines.KERNELS, *([TRAINED] if config.trained_width else [])]
    quadratic = {"experiment": "sweep", "k": 2, "family": "hermite", "link": "generic"}
    grid = [quadratic | {"d": d, "ratio": ratio, "method": method} for d in config.dims for ratio in config.ratios for method in methods]
    grid += [
        quadratic | {"experiment": "recovery", "d": d, "ratio": ratio, "method": NETWORK, "draw": draw}
        for d, draws in zip(config.recovery_dims, config.recovery_draws, strict=True)
        for ratio in config.recovery_ratios
        for draw in range(1, draws + 1)  # draw 0 is the sweep's
    ]
    grid += [quadratic | {"experiment": "relu", "d": min(config.dims), "ratio": config.control_ratio, "method": RELU_NETWORK}]
    grid += [quadratic | {"experiment": "control", "link": "even", "d": d, "ratio": config.control_ratio, "method": NETWORK} for d in config.dims]
    grid += [
        {"experiment": "cubic", "k": 3, "family": family, "link": "generic", "d": d, "ratio": ratio, "method": method}
        for family in ("hermite", "parity")
        for d in config.cubic_dims
        for ratio in config.cubic_ratios
        for method in methods
    ]
    most = dict.fromkeys(["random features", *baselines.KERNELS], config.max_kernel_samples) | {"recovery": config.max_recovery_samples}
    grid = [c for c in grid if config.samples(c["ratio"], c["d"], c["k"]) <= most.get(c["experiment"], most.get(c["method"], config.max_samples))]
    return [*grid, *({"experiment": "stein", "d": d} for d in config.stein_dims), {"experiment": "descent", "d": config.descent_dim}]


def check(config: Config) -> None:
    """RequestError naming the first field that is out of range."""
    even = [("dims", config.dims), ("recovery_dims", config.recovery_dims), ("stein_dims", config.stein_dims), ("descent_dim", (config.descent_dim,))]
    for name, dims in [*even, ("cubic_dims", config.cubic_dims)]:
        if any(d < 2 or d % 2 for d in dims):
            raise RequestError(f"--config.{name}: half of the signs are negative, so dimensions are even and at least 2, not {dims}")
    if any(d % 3 for d in config.cubic_dims):
        raise RequestError(f"--config.cubic_dims: parities of three need multiples of 3, not {config.cubic_dims}")
    if not config.dims:
        raise RequestError("--config.dims: at least one dimension at which methods are compared")
    if len(config.recovery_draws) != len(config.recovery_dims) or min(config.recovery_draws, default=1) < 1:
        raise RequestError("--config.recovery_draws: one number of draws, 1 or more, for each of --config.recovery_dims")
    for name in ("ratios", "recovery_ratios", "cubic_ratios"):
        if min(getattr(config, name), default=1) <= 0:
            raise RequestError(f"--config.{name}: numbers of samples are positive")
    counts = ("m2", "min_width", "validation", "descent_steps", "max_samples", "max_kernel_samples", "max_recovery_samples", "trained_steps")
    for name in (*counts, "control_ratio", "width_factor"):
        if getattr(config, name) <= 0:
            raise RequestError(f"--config.{name} must be positive")
    if config.test < SCATTERED:
        raise RequestError(f"--config.test: at least {SCATTERED} points, which the record keeps for a figure")
    if config.stein_points < 2:
        raise RequestError("--config.stein_points: at least 2, one for each half")
    if config.trained_width < 0 or any(rate <= 0 for rate in config.trained_rates) or not config.trained_rates:
        raise RequestError("--config.trained_width is 0 or more, --config.trained_rates are positive and at least one")


@per_seed
def run(config: Config, condition: dict, seed: int, device: str) -> dict:
    """One row."""
    match condition["experiment"]:
        case "stein":
            return stein(config, condition["d"], seed, device)
        case "descent":
            return descent(config, condition["d"], seed, device)
    return learn(config, condition, seed, device)


@dataclass(frozen=True)
class Problem:
    """A target with the data and fixed layers of one seed: equal for all methods, and nested over n."""

    target: targets.Target
    train: model.Labelled
    validation: model.Labelled
    test: model.Labelled
    first: model.FirstLayer
    second: model.SecondLayer


def draw_problem(config: Config, seed: int, device: str, d: int, n: int, k: int = 2, activation: str = "polynomial", draw: int = 0, **kind) -> Problem:
    def stream(name: str) -> np.random.Generator:
        return numpy_rng(seed, f"{name}, draw {draw}" if draw else name)

    target = targets.draw_target(stream("target"), d, k=k, device=device, **kind)

    def labelled(name: str, size: int) -> model.Labelled:
        x = torch.as_tensor(stream(name).standard_normal((size, d)), device=device)
        return model.Labelled(x, target(x))

    return Problem(
        target,
        labelled("training", n),
        labelled("validation", config.validation),
        labelled("test", config.test),
        model.draw_first_layer(stream("first layer"), d, config.m1(d, k), device, k=k, activation=activation),
        model.draw_second_layer(stream("second layer"), config.m2, device),
    )


def learn(config: Config, condition: dict, seed: int, device: str) -> dict:
    """One method on one target with n samples: its test error, and for the three-layer network what stage 1 has found."""
    d, k, method = condition["d"], condition["k"], condition["method"]
    kind = {"family": condition["family"], "link": condition["link"], "activation": "relu" if method == RELU_NETWORK else "polynomial"}
    problem = draw_problem(config, seed, device, d, config.samples(condition["ratio"], d, k), k, draw=condition.get("draw", 0), **kind)
    target, test = problem.target, problem.test
    fitted = fit(config, method, problem, seed)
    found = {}
    if isinstance(fitted.predict, model.ThreeLayer):
        found, prediction = recovered(fitted.predict, target, test)
    else:
        prediction = fitted.predict(test.x)
    error = model.mse(prediction, test.y)
    row = {"n": len(problem.train), "error": error / target.variance}
    if condition["link"] == "generic":
        row |= {"over_plateau": error / target.plateau, "plateau": target.plateau / target.variance}
    if math.isfinite(fitted.ridge):
        row["ridge"] = fitted.ridge
    if math.isfinite(fitted.lam2):
        row["lam2"] = fitted.lam2
    return row | found


def fit(config: Config, method: str, problem: Problem, seed: int) -> model.Fitted:
    """The chosen predictor of a method; every method has the same samples and validation set."""
    samples = (problem.train, problem.validation)
    if method in baselines.KERNELS:
        return baselines.fit_kernel(baselines.KERNELS[method], *samples, RIDGES)
    if method == "random features":
        return baselines.fit_random_features(problem.first, *samples, RIDGES)
    if method == "oracle":
        return baselines.fit_oracle(problem.second, problem.target.p, *samples, LAMS2)
    if method == TRAINED:
        return baselines.fit_relu_network(*samples, numpy_rng(seed, "network"), config.trained_width, config.trained_steps, config.trained_rates)
    return model.fit_three_layer(problem.first, problem.second, *samples, NETWORK_RIDGES, LAMS2)


def recovered(network: model.ThreeLayer, target: targets.Target, test: model.Labelled) -> tuple[dict, torch.Tensor]:
    """How well g_u knows p, absolutely and relative to the population limit, and a sample of the learned link; and h_theta on the test points."""
    p, g = target.p(test.x), network.g(test.x)
    prediction = network.of_feature(g)
    corr = float(torch.corrcoef(torch.stack([p, g]))[0, 1])
    few = {"sample_p": p, "sample_g": g, "sample_prediction": prediction}
    return {
        "corr": corr,
        "corr_relative": corr / targets.feature_limit(target.k, target.d),
        "feature_std": float(g.std()),
        "error_stage1": model.mse(g, test.y) / target.variance,
    } | {name: values[:SCATTERED].to(torch.float32).cpu().numpy() for name, values in few.items()}, prediction


def stein(config: Config, d: int, seed: int, device: str) -> dict:
    """The distance of P_2 h / E[g'] from p, random signs: by Monte Carlo, and exactly."""
    target, rng = targets.draw_target(numpy_rng(seed, "target"), d, balanced=False, device=device), numpy_rng(seed, "stein")
    gap = targets.stein_gap_sampled(target, lambda n: torch.as_tensor(rng.standard_normal((n, d)), device=device), config.stein_points)
    return {"gap": gap, "gap_exact": targets.stein_gap(targets.quadratic_form(target))}


def descent(config: Config, d: int, seed: int, device: str) -> dict:
    """Both stages by gradient descent with the penalties that validation chose for the closed forms: distance of the two predictions against the steps.

    lam2 is chosen from DESCENT_LAMS2 alone.
    """
    problem = draw_problem(config, seed, device, d, config.samples(8, d, 2))
    first, second, x = problem.first, problem.second, problem.test.x
    (D1, D2), fitted = problem.train.halves(), model.fit_three_layer(first, second, problem.train, problem.validation, NETWORK_RIDGES, DESCENT_LAMS2)
    closed = fitted.predict
    steps = np.unique(np.geomspace(1, config.descent_steps, 20).round().astype(int))
    (lam1,) = first.lams([fitted.ridge], len(D1))
    u, losses1 = model.descend(first(D1.x), D1.y, lam1, steps)
    g2 = first(D2.x) @ u[-1]
    c, losses2 = model.descend(second(g2), D2.y - g2, fitted.lam2, steps)
    g, g_closed = first(x) @ u.T, closed.g(x)  # (n, len(steps)), (n,)
    prediction = g[:, -1:] + second(g[:, -1]) @ c.T
    return {
        "steps": steps,
        "distance1": relative_distance(g, g_closed),
        "distance2": relative_distance(prediction, closed(x)),
        "monotone": bool((losses1.diff() <= 1e-12).all() and (losses2.diff() <= 1e-12).all()),
        "error": model.mse(prediction[:, -1], problem.test.y) / problem.target.variance,
        "error_closed": model.mse(closed(x), problem.test.y) / problem.target.variance,
    }


def relative_distance(columns: torch.Tensor, reference: torch.Tensor) -> np.ndarray:
    """|column - reference| / |reference| of every column, float32."""
    return ((columns - reference[:, None]).norm(dim=0) / reference.norm()).to(torch.float32).cpu().numpy()


if __name__ == "__main__":
    main(__file__)
