"""On the Provable Advantage of Unsupervised Pretraining (Ge, Tang, Fan and Jin, 2023), replicated.

What is run: the two-phase estimator (maximum likelihood without labels, then a small head) beside supervised learning and the truth known, in the paper's three
examples. Factor models: over the labels n, the unlabelled points m, the dimension d, the map of (m, n), the threshold in m, against the exact excess, with a
latent that tells nothing, and with noise that the model does not expect. Gaussian mixtures and contrastive pairs: over n and m. Digits and MNIST: over n.
Hardware: two CPU cores; a few minutes for the cpu profile.
The numbers to reach: none are printed; labels pay for r (factors, pairs) or K (mixture) parameters and no longer for d.

    python -m papers.provable_pretraining.replicate --profile cpu
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Len, Lt

from papers.provable_pretraining import contrastive, images, mixture, model
from papers.provable_pretraining.model import draw_problem, expected_excess, factor_mle, least_squares_head, limit_floor, posterior_map, sample_covariance
from shared.engine import main, per_seed
from shared.engine.errors import RequestError
from shared.seeds import numpy_rng

Count = Annotated[int, Ge(1)]
Labels = Annotated[int, Ge(20)]
"""So many that cross-validation in 5 folds has points, and more than r + 1."""
Positive = Annotated[float, Gt(0)]
Name = Literal["digits", "mnist"]
Rival = Literal["ridge", "logistic", "neighbours", "mlp"]


@dataclass(frozen=True)
class Config:
    draws: Count = 4
    """Independent problems and data sets of a seed, averaged (factor models)."""
    r: Annotated[int, Ge(1), Le(18)] = 3
    """Dimension of the latent of factor models and pairs."""
    s: Positive = 2.0
    """Size of the orthonormal columns of B."""
    sigma: Positive = 0.5
    """Standard deviation of the noise in y (factor models and pairs)."""
    rho: Annotated[float, Ge(0), Lt(1)] = 0.5
    """Correlation of neighbouring noise entries where the factor model is mis-specified."""

    d: Annotated[int, Ge(19)] = 50
    """Input dimension of the factor models, but for the sweeps over it."""
    labels: Annotated[tuple[Labels, ...], Len(1)] = (20, 40, 80, 160, 320, 640)
    """n of the sweep over labels."""
    many_unlabelled: Count = 50_000
    """m of the sweep over labels and of the negative control."""
    unlabelled: Annotated[tuple[Count, ...], Len(1)] = (100, 200, 400, 800, 1600, 3200, 6400, 12_800)
    """m of the sweep over unlabelled points."""
    many_labels: Labels = 20_000
    """n of the sweep over unlabelled points."""
    dimensions: Annotated[tuple[Annotated[int, Ge(19)], ...], Len(1)] = (25, 50, 100, 200)
    """d of the sweep over dimensions."""
    unlabelled_per_dimension: Count = 200
    """Its m / d."""
    dimension_labels: Labels = 400
    """Its n."""

    map_d: Annotated[int, Ge(19)] = 100
    """Input dimension of the map over m and n."""
    map_unlabelled: Annotated[tuple[Count, ...], Len(2)] = (100, 200, 400, 800, 1600, 6400)
    """Its m."""
    map_labels: Annotated[tuple[Labels, ...], Len(2)] = (20, 40, 80, 160, 320, 640, 1280, 2560, 5120)
    """Its n."""

    exact_unlabelled: Count = 1000
    """m where the mean excess of many draws is held against its exact value."""
    exact_labels: Labels = 100
    """Its n; more than d + 1."""
    exact_draws: Count = 100
    """Its draws in a seed."""

    threshold_d: Annotated[int, Ge(19)] = 400
    """Input dimension of the sweep through the threshold in m."""
    threshold_s: Positive = 1.0
    """Its s. The threshold is m = (d - r) / s^4."""
    threshold_ratios: Annotated[tuple[Positive, ...], Len(1)] = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    """m s^4 / (d - r)."""

    control_labels: Labels = 200
    """n of the negative control, where the latent tells nothing about y."""

    mixture_d: Count = 50
    """Input dimension of the mixture."""
    K: Annotated[int, Ge(2), Le(20)] = 8
    """Its components."""
    norm: Positive = 5.0
    """Distance of its centres from the origin."""
    q: Annotated[float, Ge(0), Lt(0.5)] = 0.1
    """Share of its labels that are flipped."""
    mixture_unlabelled: Annotated[tuple[Annotated[int, Ge(20)], ...], Len(1)] = (100, 400, 1600, 6400)
    """m of the mixture."""
    mixture_labels: Annotated[tuple[Labels, ...], Len(1)] = (20, 40, 80, 160, 320)
    """n of the mixture."""
    mixture_test: Count = 4000
    """Test points of the mixture; the error is against psi(z), without flips."""
    vote_draws: Count = 400
    """Sets of n labels over which the mean error of the vote is held against its exact value."""
    restarts: Count = 8
    """Starts of EM."""
    rivals: Annotated[tuple[Rival, ...], Len(1)] = ("ridge", "logistic", "neighbours")
    """Supervised classifiers of the mixture, each with its knob chosen by cross-validation."""

    pairs_d: Annotated[int, Ge(19)] = 20
    """Input dimension of contrastive learning."""
    pairs_s: Positive = 1.5
    """Size of the orthonormal rows of its A."""
    pairs: Annotated[tuple[Annotated[int, Ge(20)], ...], Len(1)] = (5000, 10_000, 20_000)
    """Its m."""
    pairs_labels: Annotated[tuple[Annotated[int, Ge(30)], ...], Len(1)] = (30, 60, 120, 240, 480)
    """Its n."""
    pairs_starts: Count = 5
    """Random starts of its maximum likelihood."""

    images: Annotated[tuple[Name, ...], Len(1)] = ("digits", "mnist")
    """Real images."""
    images_unlabelled: Annotated[int, Ge(100)] = 5000
    """Their m, or as many as there are (digits)."""
    images_labels: Annotated[tuple[Annotated[int, Ge(20), Le(500)], ...], Len(1)] = (20, 50, 100, 200)
    """Their n, the same number of every class."""
    images_r: Annotated[int, Ge(1), Le(40)] = 20
    """Latent dimension of probabilistic PCA."""
    images_K: Annotated[int, Ge(2), Le(100)] = 50
    """Components of the mixture of latents."""


def conditions(config: Config) -> list[dict]:
    """The grid; RequestError for values that no experiment can use."""
    if config.exact_labels <= config.d + 1:
        raise RequestError(f"--config.exact-labels must exceed d + 1 = {config.d + 1}: with fewer the expected excess of least squares is infinite")
    if any(n % images.CLASSES for n in config.images_labels):
        raise RequestError(f"--config.images-labels must be multiples of {images.CLASSES}, the number of classes, not {config.images_labels}")
    d, m, n = config.d, config.many_unlabelled, config.many_labels
    noises = tuple(dict.fromkeys((0.0, config.rho)))
    grid = [{"experiment": "labels", "d": d, "m": m, "n": labels, "rho": rho} for rho in noises for labels in config.labels]  # A, F
    grid += [{"experiment": "unlabelled", "d": d, "n": n, "rho": rho} for rho in noises]  # B, F
    grid += [{"experiment": "dimension", "d": d, "m": config.unlabelled_per_dimension * d, "n": config.dimension_labels} for d in config.dimensions]  # C
    grid += [{"experiment": "map", "d": config.map_d, "n": labels, "rho": 0.0} for labels in config.map_labels]  # D
    grid += [{"experiment": "exact", "d": d, "m": config.exact_unlabelled, "n": config.exact_labels}]
    grid += [{"experiment": "threshold", "d": config.threshold_d, "ratio": ratio} for ratio in config.threshold_ratios]
    grid += [{"experiment": "control", "d": d, "m": m, "n": config.control_labels}]  # N
    grid += [{"experiment": "mixture", "method": "pretrain", "m": unlabelled} for unlabelled in config.mixture_unlabelled]  # G
    grid += [{"experiment": "mixture", "method": method} for method in ("labels only", *config.rivals)]
    grid += [{"experiment": "contrastive", "m": pairs} for pairs in config.pairs]  # C
    grid += [{"experiment": "images", "dataset": name} for name in config.images]  # R
    return grid


@per_seed
def run(config: Config, condition: dict, seed: int, device: str) -> dict:
    experiment = condition["experiment"]
    if experiment == "mixture":
        return run_mixture(config, condition, seed)
    if experiment == "contrastive":
        return run_contrastive(config, condition, seed)
    if experiment == "images":
        sizes = (config.images_unlabelled, config.images_labels, config.images_r, config.images_K)
        return {"n": np.array(config.images_labels)} | images.accuracies(condition["dataset"], seed, *sizes)
    one_draw = {"unlabelled": sweep_draw, "map": sweep_draw, "threshold": threshold_draw}.get(experiment, factor_draw)
    draws = [one_draw(config, condition, seed, draw) for draw in range(config.exact_draws if experiment == "exact" else config.draws)]
    return {name: np.mean([row[name] for row in draws], axis=0) for name in draws[0]}


# ---- factor models ----


def factor_draw(config: Config, condition: dict, seed: int, draw: int) -> dict:
    """Excess risks of one problem: both phases, the same head on the true latent, and supervised learning on the same labels; and what they should be."""
    d, m, n, informative = condition["d"], condition["m"], condition["n"], condition["experiment"] != "control"
    problem = draw_problem(numpy_rng(seed, f"problem {draw}"), d, config.r, config.s, config.sigma, condition.get("rho", 0.0), informative)
    T = pretrain(config, problem, m, seed, draw)
    X, y = problem.sample(numpy_rng(seed, f"labelled {draw}"), n)
    row = {"excess_pretrain": problem.excess(least_squares_head(T, X, y)), "floor": problem.floor(T)} | supervised(problem, X, y)
    if informative and problem.white:
        row["exact_pretrain"] = expected_excess(limit_floor(d, config.r, config.s, m), problem.residual, config.r, n)
    return row


def pretrain(config: Config, problem: model.FactorProblem, m: int, seed: int, draw: int) -> np.ndarray:
    """Phase 1 on m points, drawn anew for each m: the map from x to the inferred latent."""
    return posterior_map(factor_mle(sample_covariance(numpy_rng(seed, f"{m} unlabelled {draw}"), problem.S, m), config.r))


def supervised(problem: model.FactorProblem, X: np.ndarray, y: np.ndarray) -> dict:
    """What does without phase 1: least squares, tuned ridge, and (oracle) the head on the true latent."""
    (n, d), r = X.shape, problem.B.shape[1]
    row = {
        "excess_ols": problem.excess(least_squares_head(np.eye(d), X, y)),
        "excess_ridge": problem.excess(model.ridge(X, y)),
        "excess_oracle": problem.excess(least_squares_head(problem.true_map, X, y)),
        "exact_oracle": expected_excess(problem.floor(problem.true_map), problem.residual, r, n),
    }
    return row | ({"exact_ols": expected_excess(0.0, problem.residual, d, n)} if n > d + 1 else {})


def sweep_draw(config: Config, condition: dict, seed: int, draw: int) -> dict:
    """One n, with the same labels for every m; excess_pretrain, exact_pretrain and floors are over m."""
    d, r, n = condition["d"], config.r, condition["n"]
    problem = draw_problem(numpy_rng(seed, f"problem {draw}"), d, r, config.s, config.sigma, condition["rho"])
    X, y = problem.sample(numpy_rng(seed, f"labelled {draw}"), n)
    ms = config.map_unlabelled if condition["experiment"] == "map" else config.unlabelled
    maps = [pretrain(config, problem, m, seed, draw) for m in ms]
    row = {
        "m": np.array(ms),
        "excess_pretrain": np.array([problem.excess(least_squares_head(T, X, y)) for T in maps]),
        "floor": np.array([problem.floor(T) for T in maps]),
        "population_floor": problem.floor(posterior_map(factor_mle(problem.S, r))),
    }
    if problem.white:
        row["limit_floor"] = np.array([limit_floor(d, r, config.s, m) for m in ms])
        row["exact_pretrain"] = np.array([expected_excess(floor, problem.residual, r, n) for floor in row["limit_floor"]])
    return row | supervised(problem, X, y)


def threshold_draw(config: Config, condition: dict, seed: int, draw: int) -> dict:
    """The floor, with endless labels, at one ratio of m to its threshold."""
    d, s = condition["d"], config.threshold_s
    problem = draw_problem(numpy_rng(seed, f"problem {draw}"), d, config.r, s, config.sigma)
    m = threshold_m(condition["ratio"], d, config.r, s)
    return {
        "floor": problem.floor(pretrain(config, problem, m, seed, draw)),
        "limit_floor": limit_floor(d, config.r, s, m),
        "zero_excess": problem.excess(np.zeros(d)),
    }


def threshold_m(ratio: float, d: int, r: int, s: float) -> int:
    """m at so many times the threshold."""
    return max(1, round(ratio * (d - r) / s**4))


# ---- Gaussian mixtures ----


def run_mixture(config: Config, condition: dict, seed: int) -> dict:
    """Errors against psi(z) over n; a smaller set of labels is the beginning of a larger one, and all methods get the same."""
    problem = mixture.draw_mixture(numpy_rng(seed, "mixture"), config.mixture_d, config.K, config.norm, config.q)
    X_test, _, z_test = problem.sample(numpy_rng(seed, "test"), config.mixture_test)
    X, y, _ = problem.sample(numpy_rng(seed, "labelled"), max(config.mixture_labels))
    grid = {"n": np.array(config.mixture_labels)}
    truth, starts = problem.psi[z_test], (numpy_rng(seed, "starts"), config.K, config.restarts)

    def phase_2(u, n):
        psi = mixture.vote(numpy_rng(seed, "coin"), mixture.posterior(X[:n], u), y[:n])
        return (mixture.predict(mixture.posterior(X_test, u), psi) != truth).mean()

    if condition["method"] == "pretrain":
        unlabelled, _, _ = problem.sample(numpy_rng(seed, "unlabelled"), condition["m"])
        u = mixture.fit_mixture(unlabelled, *starts)
        return grid | {
            "error": np.array([phase_2(u, n) for n in config.mixture_labels]),
            "mean_error": np.array([mean_vote_error(config, seed, problem, u, n, X_test, truth) for n in config.mixture_labels]),
            "exact_error": np.array([mixture.vote_error(n, config.K, config.q) for n in config.mixture_labels]),
            "bayes_error": (mixture.predict(mixture.posterior(X_test, problem.u), problem.psi) != truth).mean(),
            "centre_error": mixture.centre_error(u, problem.u),
            "limit_centre_error": config.mixture_d * config.K / condition["m"],
        }
    if condition["method"] == "labels only":
        return grid | {"error": np.array([phase_2(mixture.fit_mixture(X[:n], *starts), n) for n in config.mixture_labels])}
    fits = [mixture.fit_rival(condition["method"], X[:n], y[:n]) for n in config.mixture_labels]
    return grid | {"error": np.array([(fit.predict(X_test) != truth).mean() for fit in fits])}


def mean_vote_error(config: Config, seed: int, problem: mixture.MixtureProblem, u: np.ndarray, n: int, X_test: np.ndarray, truth: np.ndarray) -> float:
    """Error of phase 2 averaged over many sets of n labels, with the outcome of phase 1 given."""
    rng = numpy_rng(seed, f"votes of {n}")
    X, y, _ = problem.sample(rng, config.vote_draws * n)
    P = mixture.posterior(X, u)
    psi = np.stack([mixture.vote(rng, P[i : i + n], y[i : i + n]) for i in range(0, len(y), n)], axis=1)  # (K, sets)
    return float((mixture.predict(mixture.posterior(X_test, u), psi) != truth[:, None]).mean())


# ---- contrastive pairs ----


def run_contrastive(config: Config, condition: dict, seed: int) -> dict:
    """Excess risks over n, and the floor averaged over all directions of w, with m pairs."""
    d, r, n_max = config.pairs_d, config.r, max(config.pairs_labels)
    A = contrastive.draw_embedding(numpy_rng(seed, "embedding"), d, r, config.pairs_s)
    w = numpy_rng(seed, "head").standard_normal(r)
    problem = contrastive.downstream(A, w / np.linalg.norm(w), config.sigma)
    pairs = contrastive.draw_pairs(numpy_rng(seed, "pairs"), A, condition["m"])
    A_hat = contrastive.contrastive_mle(numpy_rng(seed, "starts"), pairs, r, config.pairs_starts)
    X, y = problem.sample(numpy_rng(seed, "labelled"), n_max)
    limit = contrastive.limit_floor(d, r, config.pairs_s, condition["m"])
    curves = {
        "excess_pretrain": [problem.excess(least_squares_head(A_hat.T, X[:n], y[:n])) for n in config.pairs_labels],
        "exact_pretrain": [expected_excess(limit, problem.residual, r, n) for n in config.pairs_labels],
        "excess_oracle": [problem.excess(least_squares_head(A.T, X[:n], y[:n])) for n in config.pairs_labels],
        "excess_ols": [problem.excess(least_squares_head(np.eye(d), X[:n], y[:n])) for n in config.pairs_labels],
        "excess_ridge": [problem.excess(model.ridge(X[:n], y[:n])) for n in config.pairs_labels],
        "n": config.pairs_labels,
    }
    return {name: np.array(curve) for name, curve in curves.items()} | {"mean_floor": contrastive.mean_floor(A_hat, A), "limit_floor": limit}


if __name__ == "__main__":
    main(__file__)
