"""Wide and Deep Neural Networks Achieve Optimality for Classification (Radhakrishnan, Belkin, Uhler, 2022): deep kernels as classifiers.

What is run: the singular exponent of deep kernels; agreement of deep networks with 1-NN, majority vote and the Hilbert estimate on two Dirichlet classes on the
sphere, and their accuracy against n; accuracy and squared error against depth; ReLU at great depth; accuracy as n -> infinity; finite width; digits.
Hardware: one CPU core, a few minutes; profile gpu (n up to 10 000, MNIST) is written for one H200 and untested.
Number to reach: fitted exponent / alpha = 1, agreement with the Hilbert estimate above 0.95.

    python -m papers.wide_deep_classifiers.replicate --profile cpu
"""

from __future__ import annotations

import importlib
import itertools
from dataclasses import dataclass

import numpy as np
import torch

from papers.wide_deep_classifiers import model
from papers.wide_deep_classifiers.model import ACTIVATIONS, DEPTH, DeepKernel, RandomNetwork
from shared.effects import log_log_fit
from shared.engine import main
from shared.engine.errors import RequestError
from shared.kernels import Cosines, nngp
from shared.seeds import numpy_rng

RELU_KNOTS = 1024  # enough: ReLU's kernel has no ripple in log t
NTK_LIMIT_DEPTH = 1e12  # far beyond 1 / distance^2, where the NTK's own exponent shows


@dataclass(frozen=True)
class Config:
    spheres: tuple[int, ...] = (1, 2)
    """Intrinsic dimensions d of the Dirichlet data: 1, 2, 4 or 8. Paper: all four."""
    sizes: tuple[int, ...] = (250, 500, 1000, 2000)
    """Training points n; every size is the beginning of the largest. Official code: 10 000."""
    test: int = 2000
    """Test points. Official code: 10 000."""
    activations: tuple[str, ...] = ("2d_opt", "3d_opt", "5d_opt", "9d_opt", "erf", "hermite_2", "fast_majority")
    """Deep networks on the spheres."""
    depth_cap: int = 1000
    """At most so many layers L of the networks on spheres and real data; the official depths (100, 200 for erf, 50 for sines) lie below it."""
    knots: int = 32_768
    """Values of t at which a kernel's recursion is run, for the spline between them."""
    relu_points: int = 100
    """Training points of the deep ReLU network. Paper: 100."""
    relu_depths: tuple[int, ...] = (5_000, 20_000, 50_000, 200_000)
    """Its layers L. Paper: 50 000."""
    relu_test: int = 5000
    """Its test points."""
    relu_far_sphere: int = 8
    """Dimension d of the second sphere that it is tried on, where points are far apart; the first is S^1, where they are close."""
    sweep_points: int = 1000
    """Training points of the depth sweep."""
    sweep_depths: tuple[int, ...] = (1, 2, 5, 10, 15, 20, 30, 60, 100)
    """Its depths L."""
    exponents: tuple[str, ...] = ("2d_opt", "3d_opt", "5d_opt", "9d_opt", "sine_2.676")
    """Activations whose exponent is fitted."""
    exponent_depth: int = 100
    """Layers L of the NNGP in that fit; distances of 1e-4 leave the neighbourhood of 1 after fewer than 30."""
    finite_widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    """Widths m of the random networks."""
    finite_draws: int = 8
    """Random networks of each width."""
    real: str = "digits"
    """Real data: digits or mnist."""
    real_points: int = 10_000
    """At most so many of its training and of its test images. Paper: 10 000 of MNIST."""
    real_activations: tuple[str, ...] = ("3d_opt", "5d_opt", "9d_opt", "sine_6.1")
    """Deep networks on the real data."""


def check(config: Config) -> None:
    """RequestError names every setting that cannot be run."""
    faults = [f"activation {a!r} is none of {', '.join(ACTIVATIONS)}" for a in {*config.activations, *config.real_activations} - set(ACTIVATIONS)]
    faults += [f"exponent of {a!r}: not a singular dual" for a in config.exponents if a not in ACTIVATIONS or model.limit_rule(ACTIVATIONS[a]) != "singular"]
    spheres = (*config.spheres, config.relu_far_sphere)
    faults += [f"spheres: d = {d} has no Dirichlet parameters, only {sorted(model.DIRICHLET)} have" for d in spheres if d not in model.DIRICHLET]
    positive = ("test", "depth_cap", "relu_points", "relu_test", "sweep_points", "exponent_depth", "finite_draws", "real_points")
    faults += [f"{name}: 1 or more, not {getattr(config, name)}" for name in positive if getattr(config, name) < 1]
    faults += [
        f"{name}: rising numbers of 1 or more" for name in ("sizes", "relu_depths", "sweep_depths", "finite_widths") if not rising(getattr(config, name))
    ]
    if config.knots < 1000:
        faults.append(f"knots: 1000 or more, not {config.knots}")
    if config.real not in ("digits", "mnist"):
        faults.append(f"real: digits or mnist, not {config.real!r}")
    if faults:
        raise RequestError("\n".join(faults))


def rising(values: tuple[int, ...]) -> bool:
    return len(values) > 0 and values[0] >= 1 and all(a < b for a, b in itertools.pairwise(values))


def conditions(config: Config) -> list[dict]:
    """One condition for each fitted exponent, each rule on each sphere, and each of the other experiments."""
    check(config)
    grid = [{"experiment": "exponent", "activation": a} for a in config.exponents]
    grid += [{"experiment": "sphere", "d": d, "activation": a} for d in config.spheres for a in ("baselines", *config.activations)]
    grid += [{"experiment": "limit", "ratio": ratio} for ratio in (2.0, 4.0, 8.0)]
    grid += [{"experiment": "relu", "layers": L} for L in config.relu_depths]
    grid += [{"experiment": "sweep"}, {"experiment": "finite"}]
    grid += [{"experiment": "real", "activation": a} for a in ("baselines", *config.real_activations)]
    return grid


def run(config: Config, condition: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """One row per seed; what does not depend on the seed, such as the spline of a kernel, is made once."""
    name = condition.get("activation")
    match condition["experiment"]:
        case "exponent":
            return [fit_exponent(config, name)] * len(seeds)
        case "sphere" if name == "baselines":
            return [judge_baselines(config, condition["d"], seed) for seed in seeds]
        case "sphere":
            kernel = None if name == "hermite_2" else deep_kernel(config, name, device)
            return [judge_network(config, condition["d"], name, kernel, seed, device) for seed in seeds]
        case "limit":
            return [judge_limit(config, condition["ratio"], seed) for seed in seeds]
        case "relu":
            kernel = DeepKernel(ACTIVATIONS["relu"], condition["layers"], "ntk", knots=RELU_KNOTS, device=device)
            return [judge_relu(config, kernel, condition["layers"], seed, device) for seed in seeds]
        case "sweep":
            return [sweep_depth(config, seed, device) for seed in seeds]
        case "finite":
            return [judge_finite(config, seed) for seed in seeds]
        case "real":
            kernel = None if name == "baselines" else deep_kernel(config, name, device)
            return [judge_real(config, kernel, seed, device) for seed in seeds]
    raise ValueError(f"no experiment {condition['experiment']!r}")


def deep_kernel(config: Config, name: str, device: str) -> DeepKernel:
    """The NNGP of an activation at its official depth."""
    return DeepKernel(ACTIVATIONS[name], layers(config, name), knots=config.knots, device=device)


def layers(config: Config, name: str) -> int:
    return min(DEPTH.get(name, 100), config.depth_cap)


# ---- the singular exponent ----


def fit_exponent(config: Config, name: str) -> dict:
    """Exponents of the NNGP, of the NTK at 60 layers and of the NTK in its limit, each fitted over distances from 1e-4 to 1e-2."""
    dual = ACTIVATIONS[name]
    A2, A1_2, B1 = model.ends(dual)
    distance = np.geomspace(1e-5, 1.0, 161)  # 32 a decade
    s = Cosines(1 - distance**2 / 2, distance**2 / 2)
    kernels = {
        "nngp": nngp(s, dual, config.exponent_depth).rho / A1_2**config.exponent_depth,
        "ntk": model.deep_ntk(s, dual, 60),
        "ntk_limit": model.deep_ntk(s, dual, NTK_LIMIT_DEPTH),
    }
    fitted = (distance >= 1e-4 * (1 - 1e-9)) & (distance <= 1e-2 * (1 + 1e-9))
    row = {"A2": A2, "A1_2": A1_2, "B1": B1, "alpha": model.alpha(dual), "distance": distance}
    for kind, K in kernels.items():
        slope, low, high = log_log_fit(distance[fitted], K[fitted]).interval()
        row |= {f"log_{kind}": np.log(K), f"exponent_{kind}": -slope, f"error_{kind}": (high - low) / 2}
    return row


# ---- two Dirichlet classes ----


def draw(n: int, test: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, y of n training and of the test points; no two of all points coincide."""
    x, y = model.draw_points(n + test, d, numpy_rng(seed, f"points of S^{d}"))
    return x[:n], y[:n], x[n:], y[n:]


def accuracies(score: np.ndarray, y: np.ndarray, eta: np.ndarray) -> tuple[float, float]:
    """Share of the test labels predicted, and its expectation given the test points."""
    return float(((score > 0) == (y > 0)).mean()), model.expected_accuracy(score, eta)


def agreement(score: np.ndarray, other: np.ndarray) -> float:
    """Share of the test points that get the same class."""
    return float(((score > 0) == (other > 0)).mean())


def judge_baselines(config: Config, d: int, seed: int) -> dict:
    """Accuracies of the four rules at every n, and of the Bayes classifier."""
    X, y, X_test, y_test = draw(config.sizes[-1], config.test, d, seed)
    eta = model.posterior(X_test, d)
    scores = {rule: [] for rule in ("nearest", "majority", "hilbert")}
    for n in config.sizes:
        for rule, score in rule_scores(X[:n], y[:n], X_test, d).items():
            scores[rule].append(score)
    row = {"sizes": np.array(config.sizes)}
    row["accuracy_bayes"], row["expected_bayes"] = accuracies(eta - 0.5, y_test, eta)
    for rule, at_sizes in scores.items():
        row[f"accuracy_{rule}"], row[f"expected_{rule}"] = map(np.array, zip(*(accuracies(s, y_test, eta) for s in at_sizes), strict=True))
    return row


def rule_scores(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, d: int) -> dict[str, np.ndarray]:
    """Scores of 1-NN, majority vote and the Hilbert estimate."""
    t_test = model.half_squared_distances(torch.from_numpy(X_test), torch.from_numpy(X))
    return {
        "nearest": model.nearest(X, y, X_test),
        "majority": np.full(len(X_test), y.sum()),
        "hilbert": model.hilbert(t_test, torch.from_numpy(y), d).numpy(),
    }


def judge_network(config: Config, d: int, name: str, kernel: DeepKernel | None, seed: int, device: str) -> dict:
    """Accuracy of a deep network at every n, and its agreement with the rules; ``kernel`` is None for he_2, which is computed in logarithms."""
    X, y, X_test, y_test = draw(config.sizes[-1], config.test, d, seed)
    eta = model.posterior(X_test, d)
    X_all, y_all, X_new = (torch.from_numpy(a).to(device) for a in (X, y, X_test))
    t_train, t_test = model.half_squared_distances(X_all, X_all), model.half_squared_distances(X_new, X_all)
    K_train, K_test = (kernel.train(t_train), kernel(t_test)) if kernel else (None, None)
    row = {"sizes": np.array(config.sizes)}
    curves: dict[str, list[float]] = {key: [] for key in ("accuracy", "expected", "as_nearest", "as_majority", "as_hilbert", "as_unsolved")}
    for n in config.sizes:
        if kernel:
            score = model.interpolate(K_train[:n, :n], y_all[:n], K_test[:, :n]).cpu().numpy()
            unsolved = (K_test[:, :n] @ y_all[:n]).cpu().numpy()  # K_train = I: the singular-kernel classifier itself
        else:
            score = model.interpolate_power(t_train[:n, :n], y_all[:n], t_test[:, :n], 2, layers(config, name)).cpu().numpy()
            unsolved = score
        rules = rule_scores(X[:n], y[:n], X_test, d)
        accuracy, expected = accuracies(score, y_test, eta)
        shares = {f"as_{rule}": agreement(score, other) for rule, other in (rules | {"unsolved": unsolved}).items()}
        for key, value in (shares | {"accuracy": accuracy, "expected": expected}).items():
            curves[key].append(value)
    return row | {key: np.array(values) for key, values in curves.items()}


def judge_limit(config: Config, ratio: float, seed: int) -> dict:
    """Expected accuracy on S^1 as n -> infinity when alpha / d = ``ratio``, at the test points of the other experiments."""
    _, _, X_test, _ = draw(config.sizes[-1], config.test, 1, seed)
    eta = model.posterior(X_test, 1)
    return {"expected": model.accuracy_with_infinitely_many(eta, ratio, numpy_rng(seed, "votes")), "expected_bayes": model.expected_accuracy(eta - 0.5, eta)}


# ---- depth ----


def judge_relu(config: Config, kernel: DeepKernel, depth: int, seed: int, device: str) -> dict:
    """Agreement of a very deep ReLU network (NTK) with the majority vote and with its own closed form, on S^1 and on a sphere of many dimensions."""
    row = {}
    for place, d in (("", 1), ("_far", config.relu_far_sphere)):
        X, y, X_test, _ = draw(config.relu_points, config.relu_test, d, seed)
        X_all, y_all, X_new = (torch.from_numpy(a).to(device) for a in (X, y, X_test))
        t_train, t_test = model.half_squared_distances(X_all, X_all), model.half_squared_distances(X_new, X_all)
        score = model.interpolate(kernel.train(t_train), y_all, kernel(t_test)).cpu().numpy()
        closed_train = model.relu_ntk_limit(t_train, depth).fill_diagonal_(1)
        closed = model.interpolate(closed_train, y_all, model.relu_ntk_limit(t_test, depth)).cpu().numpy()
        row |= {f"as_majority{place}": agreement(score, np.full(len(score), y.sum())), f"as_closed_form{place}": agreement(score, closed)}
        row[f"vote{place}"] = float(y.sum())
    return row


def sweep_depth(config: Config, seed: int, device: str) -> dict:
    """Accuracy and mean squared error of 2d_opt on S^1 at every depth. Shallow kernel matrices are nearly singular: the recursion itself here, no spline."""
    X, y, X_test, y_test = draw(config.sweep_points, config.test, 1, seed)
    X_all, y_all, X_new = (torch.from_numpy(a).to(device) for a in (X, y, X_test))
    pairs = [model.half_squared_distances(points, X_all) for points in (X_all, X_new)]
    train, test = (Cosines(1 - t, t) for t in pairs)
    dual, depth, scores, eta = ACTIVATIONS["2d_opt"], 0, [], model.posterior(X_test, 1)
    for L in config.sweep_depths:
        train, test = (nngp(s, dual, L - depth) for s in (train, test))
        depth = L
        scores.append(model.interpolate(train.rho, y_all, test.rho).cpu().numpy())
    accuracy, expected = map(np.array, zip(*(accuracies(score, y_test, eta) for score in scores), strict=True))
    return {
        "depths": np.array(config.sweep_depths),
        "accuracy": accuracy,
        "expected": expected,
        "expected_bayes": model.expected_accuracy(eta - 0.5, eta),
        "expected_majority": model.expected_accuracy(np.full(len(eta), y.sum()), eta),
        "mse": np.array([((score - y_test) ** 2).mean() for score in scores]),
        "accuracy_majority": float((y_test == np.sign(y.sum())).mean()),
        "mean_square": float((y_test**2).mean()),
    }


# ---- finite networks and real data ----


def judge_finite(config: Config, seed: int) -> dict:
    """Root mean square error of the inner products of random erf networks, three hidden layers, against the NNGP, width by width.

    Erf, because products of cubes of Gaussians have tails so heavy that a few of the draws would decide the mean.
    """
    X = draw(8, 1, 2, seed)[0]
    t = model.half_squared_distances(torch.from_numpy(X), torch.from_numpy(X)).numpy()
    limit, pairs = nngp(Cosines(1 - t, t), ACTIVATIONS["erf"], 3).rho, np.triu_indices(len(X), 1)
    rng = numpy_rng(seed, "weights")
    errors = []
    for m in config.finite_widths:
        network = RandomNetwork(ACTIVATIONS["erf"], m, 3)
        errors.append(np.sqrt(np.mean([(network.nngp(X, rng) - limit)[pairs] ** 2 for _ in range(config.finite_draws)])))
    return {"widths": np.array(config.finite_widths), "error": np.array(errors)}


def judge_real(config: Config, kernel: DeepKernel | None, seed: int, device: str) -> dict:
    """Accuracy on images of unit norm, one score for each class; ``kernel`` None: 1-NN and the most frequent class."""
    X, y, X_test, y_test = real_images(config, seed)
    if kernel is None:
        frequent = np.bincount(y).argmax()
        return {"accuracy_nearest": float((model.nearest(X, y, X_test) == y_test).mean()), "accuracy_majority": float((y_test == frequent).mean())}
    X_all, X_new, one_hot = (torch.from_numpy(a).to(device) for a in (X, X_test, np.eye(10)[y]))
    t_train, t_test = model.half_squared_distances(X_all, X_all), model.half_squared_distances(X_new, X_all)
    scores = model.interpolate(kernel.train(t_train), one_hot, kernel(t_test)).cpu().numpy()
    return {"accuracy": float((scores.argmax(axis=1) == y_test).mean())}


def real_images(config: Config, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors and classes; the seed picks the split of the digits, or the images of MNIST. No two images are equal."""
    data = importlib.import_module(f"shared.data.{config.real}")
    images = data.load(seed=seed) if config.real == "digits" else data.load()
    rng = numpy_rng(seed, "images")
    parts = []
    for x, y in ((images.x_train, images.y_train), (images.x_test, images.y_test)):
        chosen = rng.permutation(len(x))[: config.real_points]
        flat = x[chosen].reshape(len(chosen), -1).astype(float)
        parts += [flat / np.linalg.norm(flat, axis=1, keepdims=True), y[chosen]]
    return tuple(parts)


if __name__ == "__main__":
    main(__file__)
