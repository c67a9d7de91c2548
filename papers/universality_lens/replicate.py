"""The Universality Lens: Why Even Highly Over-Parametrized Models Learn Well (Feder, Urbanke, Fogel, 2025), its theorems put to the test.

What is run: exact Bayesian mixtures, and their regret against the weight of the truth. Boolean functions weighted by random networks; Gaussian models with
up to 1000 redundant parameters; a singular model; coins on grids; and, on real tables, Langevin sampling with its diagnostics beside single models.
Hardware: two CPU cores; a few minutes for the cpu profile.
The number to reach: regret / ln(1 / weight of the truth) = 1, whatever the size of the class.

    python -m papers.universality_lens.replicate --profile cpu
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from papers.universality_lens import conjugate, diagnostics
from papers.universality_lens.langevin import (
    Data,
    Model,
    distillation,
    langevin_step,
    linear_posterior,
    log_posterior,
    mixture_log_loss,
    position,
    step_size_variance,
)
from papers.universality_lens.model import (
    DENSE_UP_TO,
    Prior,
    draw_margins,
    exact_regret,
    exact_regret_uniform,
    frequencies,
    mixture,
    named_functions,
    next_label_excess,
    regret_bound,
    sample_tables,
    symmetrised,
    two_part,
    uniform_on_functions,
)
from shared.data import bundled, digits, mnist
from shared.engine import main
from shared.engine.errors import RequestError
from shared.optim.many import stack_runs, train_many
from shared.seeds import jax_key, jax_keys, numpy_rng

BLOCK = 1000
"""Networks that are drawn at a time."""
EXACT_D = 2
"""d of the cube on which expectations over label sequences are exact."""


@dataclass(frozen=True)
class Config:
    d: int = 4
    """E1: inputs are the corners of a cube of this dimension, 3 to 5."""
    widths: tuple[int, ...] = (4, 16, 64)
    """E1: hidden units H of the random networks."""
    drawn_width: int = 16
    """E1: the H at which further targets are drawn and baselines run; one of ``widths``."""
    samples: int = 300_000
    """E1: random networks behind an estimate of weights, a multiple of 1000."""
    q: float = 0.1
    """E1: probability that a label is flipped; the learner knows it."""
    n_max: int = 400
    """E1: labels in a sequence, an even number."""
    points: int = 40
    """E1: sizes n at which regret is computed, about evenly spaced on a log axis."""
    sequences: int = 50
    """E1: label sequences over which regret is averaged."""
    drawn: int = 30
    """E1: further targets, drawn from the prior."""
    exact_n: int = 14
    """E1 on the square (d = 2): labels in a sequence, for exact expectations."""

    redundant: tuple[int, ...] = (1, 10, 100, 1000)
    """E2: numbers of parameters m; those below k are left out."""
    effective: tuple[int, ...] = (1, 2, 5)
    """E2: combinations k of them that matter."""
    gaussian_n: int = 10_000
    """E2: examples in a sequence, 100 or more."""
    gaussian_sequences: int = 200
    """E2: sequences over which regret is averaged."""
    singular_n: int = 1_000_000
    """E3: the largest n."""
    grids: tuple[int, ...] = (11, 101, 1001, 10_001)
    """Coins: odd numbers K of hypotheses."""
    coin_n: int = 1000
    """Coins: the largest n."""

    tasks: tuple[str, ...] = ("diabetes", "breast_cancer", "digits")
    """E4: diabetes (linear), breast_cancer (logistic), digits (3 against 8, network) or mnist (likewise)."""
    train: int = 100
    """E4: training examples n; the rest is for testing."""
    batches: tuple[int, ...] = (100, 20)
    """E4: mini-batch sizes b, up to n; b = n is the reference."""
    chains: int = 4
    """E4: chains for each seed, two or more; twice as many for the linear model, which is cheap."""
    sgld_steps: int = 80_000
    """E4: steps of a chain, a multiple of 4; a quarter is burn-in. The flattest directions forget in 2 / eps steps: half as many left R-hat at 1.2."""
    descent_steps: int = 40_000
    """E4: steps without noise for MAP and MLE, of the same size."""
    draws: int = 200
    """E4: evenly spaced draws kept of the other three quarters."""
    eps: float = 1e-3
    """E4: step size, linear and logistic."""
    eps_network: float = 5e-4
    """E4: step size, network."""
    hidden: int = 16
    """E4: tanh units."""
    noise_variance: float = 0.5
    """E4: known noise of the linear model, in units of the variance of y; about half the variance of diabetes is linear in its features."""
    unlabelled: int = 2000
    """E4: inputs on which the distilled model imitates the ensemble."""
    distill_steps: int = 4000
    """E4: steps of Adam for it, batches of 100."""


# ---- the grid ----


def conditions(config: Config) -> list[dict]:
    check(config)
    grid = [{"experiment": "boolean", "law": "gaussian", "H": H} for H in config.widths]
    grid += [{"experiment": "boolean", "law": "uniform", "H": config.drawn_width}, {"experiment": "boolean", "law": "limit"}]
    if config.d <= DENSE_UP_TO:
        grid += [{"experiment": "boolean", "law": "functions"}]
    grid += [{"experiment": "exact", "H": config.drawn_width}]
    grid += [{"experiment": "gaussian", "k": k, "m": m} for k in config.effective for m in config.redundant if m >= k]
    grid += [{"experiment": "singular", "mu0": mu0} for mu0 in (0.0, 1.0)]
    grid += [{"experiment": "coins", "K": K} for K in config.grids]
    grid += [{"experiment": "langevin", "task": task, "batch": batch} for task in config.tasks for batch in config.batches]
    return grid


def check(config: Config) -> None:
    """One message for a setting that no experiment could run with."""
    wanted = {
        "d": ("3, 4 or 5", config.d in (3, 4, 5)),
        "widths": ("1 or more each", all(H >= 1 for H in config.widths)),
        "drawn_width": ("one of widths", config.drawn_width in config.widths),
        "samples": ("a positive multiple of 1000", config.samples > 0 and config.samples % BLOCK == 0),
        "q": ("strictly between 0 and 1/2", 0 < config.q < 0.5),
        "n_max": ("even, 2 or more", config.n_max >= 2 and config.n_max % 2 == 0),
        "points": ("2 or more", config.points >= 2),
        "sequences": ("2 or more", config.sequences >= 2),
        "drawn": ("0 or more", config.drawn >= 0),
        "exact_n": ("1 to 20", 1 <= config.exact_n <= 20),
        "redundant": ("1 or more each", all(m >= 1 for m in config.redundant)),
        "effective": ("1 to 10 each", all(1 <= k <= 10 for k in config.effective)),
        "gaussian_n": ("100 or more", config.gaussian_n >= 100),
        "gaussian_sequences": ("2 or more", config.gaussian_sequences >= 2),
        "singular_n": ("1000 or more", config.singular_n >= 1000),
        "grids": ("odd each", all(K >= 1 and K % 2 for K in config.grids)),
        "coin_n": ("10 or more", config.coin_n >= 10),
        "tasks": (f"of {', '.join(TASKS)}", set(config.tasks) <= set(TASKS)),
        "train": ("10 to 200", 10 <= config.train <= 200),
        "batches": ("1 to train each", all(1 <= b <= config.train for b in config.batches)),
        "chains": ("2 or more", config.chains >= 2),
        "sgld_steps": ("a positive multiple of 4", config.sgld_steps > 0 and config.sgld_steps % 4 == 0),
        "descent_steps": ("1 or more", config.descent_steps >= 1),
        "draws": ("4 or more, dividing 3/4 of sgld_steps", config.draws >= 4 and 3 * config.sgld_steps // 4 % config.draws == 0),
        "eps": ("positive", config.eps > 0),
        "eps_network": ("positive", config.eps_network > 0),
        "hidden": ("1 or more", config.hidden >= 1),
        "noise_variance": ("positive", config.noise_variance > 0),
        "unlabelled": ("1 or more", config.unlabelled >= 1),
        "distill_steps": ("1 or more", config.distill_steps >= 1),
    }
    for name, (what, holds) in wanted.items():
        if not holds:
            raise RequestError(f"--config.{name} {getattr(config, name)}: {what}")


def run(config: Config, condition: dict, seeds: Sequence[int], device: str) -> list[dict]:
    experiment, *settings = condition.values()
    with jax.default_device(jax.devices({"cpu": "cpu", "cuda": "gpu"}[device])[0]):
        if experiment == "langevin":
            return langevin(config, *settings, seeds)
        if experiment == "boolean":
            return [boolean(config, *settings, seed=seed) for seed in seeds]
        return [EXPERIMENTS[experiment](config, *settings, seed) for seed in seeds]


# ---- E1: Boolean functions ----


def weights(config: Config, d: int, law: str, H: int, seed: int) -> tuple[Prior, Prior]:
    """Plain frequencies of the tables among random networks, and what the mixtures use: their means over orbits where those can be listed."""
    key = jax_key(seed, f"{law} networks of width {H} on {d} inputs")
    plain = frequencies(d, np.asarray(sample_tables(key, d, H, law, config.samples // BLOCK, BLOCK)))
    return plain, symmetrised(plain) if d <= DENSE_UP_TO else plain


def boolean(config: Config, law: str, H: int = 0, *, seed: int) -> dict:
    """A, B, E, F. Regret curves of the named targets under one prior, on label sequences that all priors share."""
    d, q = config.d, config.q
    sizes = np.unique([*np.geomspace(1, config.n_max, config.points).round().astype(int), config.n_max // 2])
    z = draw_margins(numpy_rng(seed, "labels"), d, q, config.sequences, sizes)
    plain, prior = [uniform_on_functions(d)] * 2 if law == "functions" else weights(config, d, law, H, seed)
    targets = list(named_functions(d).values())
    curves = stack_runs([regret_curves(prior, f, z, q) for f in targets])
    ranks = np.unique(np.geomspace(1, len(prior.codes), 60).round().astype(int))
    row = {
        "sizes": sizes,
        "weight": np.array([prior.weight(f) for f in targets]),
        "weight_plain": np.array([plain.weight(f) for f in targets]),
        "bound": np.stack([regret_bound(prior, f, sizes, q) for f in targets]),
        "ranks": ranks,
        "ranked_weights": np.sort(prior.weights)[::-1][ranks - 1],
        "tables": len(prior.codes),
    } | curves
    if law == "functions":
        row |= {"exact": exact_regret_uniform(d, sizes, q)}
    if (law, H) == ("gaussian", config.drawn_width):
        row |= sample_need(config, prior, z, sizes, curves["excess"], seed) | one_hypothesis(prior, targets, z, sizes, q)
    return row


def regret_curves(prior: Prior, f: int, z: np.ndarray, q: float) -> dict:
    """Over the sequences: mean regret, its standard error, and the mean excess of the next label, each (n,)."""
    parts = [mixture(prior, f, part, q) for part in np.array_split(z, 5)]  # in memory, one part holds 2^(2^d / 2) numbers for each size of each sequence
    regret, wrong = (np.concatenate(part) for part in zip(*parts, strict=True))
    error = regret.std(axis=0, ddof=1) / np.sqrt(len(z))
    return {"regret": regret.mean(axis=0), "regret_error": error, "excess": next_label_excess(wrong, q).mean(axis=0)}


def sample_need(config: Config, prior: Prior, z: np.ndarray, sizes: np.ndarray, excess: np.ndarray, seed: int) -> dict:
    """B. Labels needed until the next one costs less than 0.02 nats too much, for the named targets and others drawn from the prior by networks of their own.

    A target whose whole orbit is missing among the weighted networks has no estimate of its weight and is left out.
    """
    key = jax_key(seed, "drawn targets")
    named = list(named_functions(config.d).values())
    fresh = np.asarray(sample_tables(key, config.d, config.drawn_width, "gaussian", 1, BLOCK)).ravel().tolist()
    drawn = [f for f in dict.fromkeys(fresh) if f not in named][: config.drawn]
    curves = [*excess, *(regret_curves(prior, f, z, config.q)["excess"] for f in drawn)]
    weight = np.array([prior.weight(f) for f in [*named, *drawn]])
    needed = np.array([first_below(sizes, curve, 0.02) for curve in curves])
    return {
        "target_log_weight": np.log(weight[weight > 0]),
        "target_needs": needed[weight > 0],
        "target_named": np.arange(len(weight))[weight > 0] < len(named),
        "targets_left_out": int((weight == 0).sum()),
    }


def first_below(sizes: np.ndarray, curve: np.ndarray, level: float) -> float:
    """Where the curve first falls below the level, interpolated; the last size where it never does."""
    below = curve < level
    if not below.any():
        return float(sizes[-1])
    i = max(1, below.argmax())
    return float(np.interp(level, curve[[i, i - 1]], sizes[[i, i - 1]]))


def one_hypothesis(prior: Prior, targets: list[int], z: np.ndarray, sizes: np.ndarray, q: float) -> dict:
    """The two-part code and its plug-in predictor, at every fourth size."""
    results = [two_part(prior, f, z[:, ::4], q) for f in targets]
    regret, excess = (np.stack([result[i].mean(axis=0) for result in results]) for i in (0, 1))
    return {"two_part_sizes": sizes[::4], "two_part_regret": regret, "plug_in_excess": excess}


def exact(config: Config, H: int, seed: int) -> dict:
    """A without sampling error in the regret: the cube with d = 2, every sequence weighed by its probability."""
    _, prior = weights(config, EXACT_D, "gaussian", H, seed)
    sizes = np.arange(1, config.exact_n + 1)
    targets = named_functions(EXACT_D).values()
    z = draw_margins(numpy_rng(seed, "labels"), EXACT_D, config.q, 20 * config.sequences, sizes)
    return {
        "sizes": sizes,
        "weight": np.array([prior.weight(f) for f in targets]),
        "exact": np.stack([exact_regret(prior, f, config.exact_n, config.q) for f in targets]),
        "bound": np.stack([regret_bound(prior, f, sizes, config.q) for f in targets]),
    } | stack_runs([regret_curves(prior, f, z, config.q) for f in targets])


# ---- E2, E3 and coins: mixtures in closed form ----


def gaussian(config: Config, k: int, m: int, seed: int) -> dict:
    """C. Regret with m parameters of which k combinations matter, for a truth theta0 drawn from the prior, but with the same A theta0 for every m."""
    mu0 = numpy_rng(seed, f"truth in {k} dimensions").normal(size=k)
    rng = numpy_rng(seed, f"{m} parameters, {k} effective")
    A, theta0 = conjugate.orthonormal_rows(rng, k, m), rng.normal(size=m)
    theta0 += A.T @ (mu0 - A @ theta0)
    sizes = np.geomspace(10, config.gaussian_n, 13).round().astype(int)
    G, c = conjugate.draw_statistics(numpy_rng(seed, f"examples in {k} dimensions"), k, sizes, config.gaussian_sequences)
    regret = conjugate.gaussian_log_ratio(G, c, A @ theta0, A @ A.T)
    return {
        "sizes": sizes,
        "regret": regret.mean(axis=0),
        "regret_error": regret.std(axis=0, ddof=1) / np.sqrt(len(regret)),
        "over_noise": conjugate.gaussian_regret_given_inputs(G, A @ theta0, A @ A.T).mean(axis=0),
        "bound": conjugate.gaussian_bound(sizes, A @ theta0),
    }


def singular(config: Config, mu0: float, seed: int) -> dict:
    """C. Exact regret at a singular truth (mu0 = 0) or a regular one; the same for every seed."""
    sizes = np.geomspace(10, config.singular_n, 21)
    row = {"sizes": sizes, "exact": np.array([conjugate.singular_regret(n, mu0) for n in sizes])}
    return row | ({"asymptote": conjugate.regular_asymptote(sizes, mu0)} if mu0 else {})


def coins(config: Config, K: int, seed: int) -> dict:
    """Exact regret of K equally likely coins, one of which is the fair truth; the same for every seed."""
    sizes = coin_sizes(config.coin_n)
    return {
        "sizes": sizes,
        "exact": coin_curve(config.coin_n, K),
        "continuum": np.array([conjugate.coin_regret(n, 0.5) for n in sizes]),
    }


def coin_sizes(n_max: int) -> np.ndarray:
    """About evenly spaced on a log axis."""
    return np.unique(np.geomspace(10, n_max, 9).round().astype(int))


@functools.cache
def coin_curve(n_max: int, K: int) -> np.ndarray:
    """Kept, because all seeds share it."""
    return np.array([conjugate.coin_grid_regret(n, 0.5, (np.arange(K) + 0.5) / K) for n in coin_sizes(n_max)])


EXPERIMENTS = {"exact": exact, "gaussian": gaussian, "singular": singular, "coins": coins}


# ---- E4: Langevin sampling on real tables ----


@dataclass(frozen=True)
class Split:
    """Examples of one seed, scaled by the training part; (n, features) and (n,)."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def table(config: Config, name: str, rng: np.random.Generator) -> Split:
    """Standardised columns (and y, for diabetes), with a column of ones for the logistic model."""
    data = bundled.load(name)
    order = rng.permutation(len(data.y))
    train, test = order[: config.train], order[config.train :]
    x = (data.x - data.x[train].mean(axis=0)) / data.x[train].std(axis=0)
    if data.classes:
        x, y = np.c_[x, np.ones(len(x))], data.y.astype(float)
    else:
        y = (data.y - data.y[train].mean()) / data.y[train].std()
    return Split(x[train], y[train], x[test], y[test])


def threes_and_eights(config: Config, name: str, rng: np.random.Generator) -> Split:
    """Images of 3 (y = 0) and 8 (y = 1), centred, divided by one number such that |x|^2 is about 1; at most 2000 for testing."""
    data = {"digits": digits, "mnist": mnist}[name].load()
    images, labels = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    chosen = rng.permutation(np.flatnonzero(np.isin(labels, (3, 8))))
    train, test = chosen[: config.train], chosen[config.train : config.train + 2000]
    x = images.reshape(len(images), -1) - images[train].reshape(config.train, -1).mean(axis=0)
    x /= x[train].std() * np.sqrt(x.shape[1])
    return Split(x[train], labels[train] == 8.0, x[test], labels[test] == 8.0)


TASKS = {"diabetes": ("linear", table), "breast_cancer": ("logistic", table), "digits": ("network", threes_and_eights), "mnist": ("network", threes_and_eights)}


def langevin(config: Config, task: str, batch: int, seeds: Sequence[int]) -> list[dict]:
    """D. Chains of all seeds in one program, then the same updates without noise (MAP), and without noise and prior (MLE), and the distilled model."""
    kind, load = TASKS[task]
    splits = [load(config, task, numpy_rng(seed, f"split of {task}")) for seed in seeds]
    splits = [Split(*(np.asarray(part, np.float32) for part in dataclasses.astuple(split))) for split in splits]
    model = Model(kind, splits[0].x.shape[1], config.hidden, config.noise_variance)
    eps = config.eps_network if kind == "network" else config.eps
    chains = config.chains * (2 if kind == "linear" else 1)

    def stacked(copies: int, stream: str) -> Data:
        """The data of every seed, ``copies`` times, each with a key of its own: leaves (seeds x copies, ...)."""
        keys = jax.vmap(lambda key: jax.random.split(key, copies))(jax_keys(seeds, stream)).reshape(-1)
        x, y = (np.repeat(np.stack([getattr(split, part) for split in splits]), copies, axis=0) for part in ("x", "y"))
        return Data(x, y, keys)

    burn_in = config.sgld_steps // 4
    kept = burn_in + (config.sgld_steps - burn_in) // config.draws * np.arange(1, config.draws + 1)
    start = np.stack([numpy_rng(seed, f"start of {task}").normal(size=(chains, model.parameters)) for seed in seeds]).astype(np.float32)
    _, draws = train_many(langevin_step(model, eps, batch), position, kept, start.reshape(-1, model.parameters), stacked(chains, f"chains of {task}"))
    draws = np.asarray(draws).reshape(len(seeds), chains, config.draws, model.parameters)

    first = start[:, 0] if kind == "network" else np.zeros_like(start[:, 0])  # symmetric units cannot start alike
    course = np.unique(np.geomspace(1, config.descent_steps, 40).round().astype(int))
    optimised = {
        name: np.asarray(train_many(langevin_step(model, eps, batch, 0.0, prior), position, course, first, stacked(1, f"{name} on {task}"))[1])
        for name, prior in (("map", 1.0), ("mle", 0.0))
    }  # (seeds, course, parameters)
    rows = [
        judge_predictions(model, split, draws[i], {name: path[i] for name, path in optimised.items()})
        | judge_chains(config, model, split, draws[i], optimised["map"][i, -1], eps)
        for i, split in enumerate(splits)
    ]
    if kind != "linear":
        students = distil(config, model, splits, draws[:, 0], first, task, seeds)
        rows = [row | {"loss_distilled": loss(model, theta, split)} for row, theta, split in zip(rows, students, splits, strict=True)]
    return rows


def outputs(model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Outputs of many parameters (..., p) on the same inputs: (..., n)."""
    flat = jax.vmap(model.output, (0, None))(theta.reshape(-1, theta.shape[-1]), x)
    return np.asarray(flat).reshape(*theta.shape[:-1], len(x))


def loss(model: Model, theta: np.ndarray, split: Split) -> float:
    """Mean log-loss of one model on the test examples."""
    return float(-model.log_density(outputs(model, theta, split.x_test), split.y_test).mean())


def judge_predictions(model: Model, split: Split, draws: np.ndarray, optimised: dict[str, np.ndarray]) -> dict:
    """Mean test log-loss of single draws, of the ensemble of a chain (mean over the chains), of all chains together, and of MAP and MLE.

    ``loss_*_stopped`` is the lowest on the way: stopped early by an oracle that sees the test examples.
    """
    densities = np.asarray(model.log_density(outputs(model, draws, split.x_test), split.y_test), float)  # (chains, draws, test)
    row = {
        "loss_single": float(-densities.mean()),
        "loss_ensemble": float(np.mean([mixture_log_loss(chain) for chain in densities])),
        "loss_all_chains": mixture_log_loss(densities.reshape(-1, densities.shape[-1])),
    }
    for name, path in optimised.items():
        on_the_way = [loss(model, theta, split) for theta in path]
        row |= {f"loss_{name}": on_the_way[-1], f"loss_{name}_stopped": min(on_the_way)}
    return row


def judge_chains(config: Config, model: Model, split: Split, draws: np.ndarray, centre: np.ndarray, eps: float) -> dict:
    """Agreement and effective size of the chains, on parameters and on predictions for the first 100 test inputs; their temperature; for the linear model their
    distance to the exact posterior, and the exact mixture's loss."""
    draws64, predictions = draws.astype(float), outputs(model, draws, split.x_test[:100]).astype(float)
    gradient = jax.vmap(jax.grad(lambda theta: -log_posterior(model, theta, split.x, split.y)))(draws.reshape(-1, model.parameters))
    row = {
        "r_hat_parameters": float(diagnostics.split_r_hat(draws64).max()),
        "r_hat_predictions": diagnostics.split_r_hat(predictions),
        "size_parameters": float(diagnostics.effective_size(draws64).min()),
        "size_predictions": diagnostics.effective_size(predictions),
        "draws_in_all": draws.shape[0] * draws.shape[1],
        "temperature": diagnostics.virial_temperature(draws64, np.asarray(gradient, float).reshape(draws.shape), centre),
    }
    if model.kind != "linear":
        return row
    posterior = linear_posterior(split.x.astype(float), split.y.astype(float), model.noise_variance)
    pooled = draws64.reshape(-1, model.parameters)
    covariance = np.linalg.inv(posterior.precision)
    h, relative = diagnostics.direction_variances(draws64, posterior.mean, posterior.precision)
    return row | {
        "mean_error": float(np.linalg.norm(pooled.mean(axis=0) - posterior.mean) / np.linalg.norm(posterior.mean)),
        "covariance_error": float(np.linalg.norm(np.cov(pooled.T) - covariance) / np.linalg.norm(covariance)),
        "curvature": h,
        "relative_variance": relative,
        "relative_variance_expected": step_size_variance(h, eps),
        "loss_exact": float(-posterior.log_density(split.x_test, split.y_test, model.noise_variance).mean()),
    }


def distil(config: Config, model: Model, splits: list[Split], draws: np.ndarray, start: np.ndarray, task: str, seeds: Sequence[int]) -> np.ndarray:
    """One model per seed, trained on the soft labels that the first chain's ensemble gives to jittered training inputs; no test input is used. (seeds, p)"""
    data = []
    for seed, split, chain in zip(seeds, splits, draws, strict=True):
        rng = numpy_rng(seed, f"unlabelled {task}")
        x = split.x[rng.integers(len(split.x), size=config.unlabelled)]
        x = (x + 0.5 * split.x.std() * rng.normal(size=x.shape)).astype(np.float32)
        soft = np.asarray(jax.nn.sigmoid(outputs(model, chain, x)).mean(axis=0))
        data.append((x, soft))
    adam, step = distillation(model, config.distill_steps, 100, 1e-2)
    state = (start, jax.vmap(adam.init)(jnp.asarray(start)))
    (students, _), _ = train_many(
        step, no_measure, [config.distill_steps], state, Data(*(np.stack(part) for part in zip(*data, strict=True)), jax_keys(seeds, f"distillation of {task}"))
    )
    return np.asarray(students)


def no_measure(state, data) -> dict:
    """Nothing is measured on the way."""
    return {}


if __name__ == "__main__":
    main(__file__)
