"""Pointer Networks (Vinyals, Fortunato and Jaitly, NIPS 2015, arXiv 1506.03134), Tables 1 and 2 and Section 4.3 at reduced size.

What is run   planar convex hulls by a pointer network and by two sequence-to-sequence models at one size; hulls by a pointer network trained on a range of
              sizes and tested beyond it; Delaunay triangulations at two sizes; travelling-salesman tours by beam search
Hardware      one CPU core (profile cpu) or one GPU (profile gpu)
Minutes       about 5 (cpu)
To reach      pointer network above attention above plain LSTM on exact hulls (paper, n = 50: 72.6 % > 38.9 % > 1.9 %)
Command       python -m papers.pointer_networks.replicate --profile cpu
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import optax

from papers.pointer_networks import geometry, model, tours
from shared.engine import main
from shared.seeds import numpy_rng


@dataclass(frozen=True)
class Config:
    hidden: int = 64
    """Units of both LSTMs, of every model. Paper: 256 or 512."""
    batch: int = 32
    """Instances per step. Paper: 128; with as many instances in all, smaller batches learn more and cost a CPU no more."""
    optimizer: str = "adam"
    """adam or sgd. Paper: sgd, which needs far more steps."""
    learning_rate: float = 1e-2
    """Step size at the start, falling linearly to 0 under adam and constant under sgd. Paper: 1.0 (sgd)."""
    clip: float = 2.0
    """Largest L2 norm of the gradient (the paper's)."""
    init_scale: float = 0.08
    """Weights start uniform in plus or minus this times sqrt(512 / hidden): the paper's range at its 512 units, the same variance into a unit at any width."""
    train_size: int = 40_000
    """Training instances per task and seed. Paper: 1M."""
    test_size: int = 2000
    """Test instances per size."""
    hull_fixed: int = 10
    """Points per hull where the three models are compared. Paper: 50."""
    hull_fixed_steps: int = 8000
    """Training steps of each of the three."""
    hull_range: tuple[int, int] = (5, 10)
    """Smallest and largest size that the variable-length pointer network trains on. Paper: 5-50."""
    hull_range_steps: int = 8000
    """Its training steps."""
    hull_test: tuple[int, ...] = (5, 10, 15, 20)
    """Sizes that it is tested at. Paper: 5, 10, 50, 100, 200, 500."""
    tsp_range: tuple[int, int] = (5, 5)
    """Smallest and largest number of cities in training (optimal tours). Paper: 5-20."""
    tsp_steps: int = 2000
    """Training steps."""
    tsp_test: tuple[int, ...] = (5,)
    """Numbers of cities in test. Paper: 5 to 50."""
    tsp_exact: int = 20
    """The largest number of cities for which the optimum is computed."""
    beam: int = 10
    """Width of the beam that looks for tours (the paper's width is not known)."""
    delaunay_sizes: tuple[int, ...] = (5, 10)
    """A model is trained for each. Paper: 5, 10, 50."""
    delaunay_steps: int = 2000
    """Training steps of each."""
    curve_points: int = 100
    """Points of the recorded training curve."""

    @property
    def weight_range(self) -> float:
        return self.init_scale * (512 / self.hidden) ** 0.5


def conditions(config: Config) -> list[dict]:
    low, high = config.hull_range
    return [
        *({"task": "hull", "model": kind, "n_low": config.hull_fixed, "n_high": config.hull_fixed} for kind in model.KINDS),
        {"task": "hull", "model": "ptr", "n_low": low, "n_high": high},
        {"task": "tsp", "model": "ptr", "n_low": config.tsp_range[0], "n_high": config.tsp_range[1]},
        *({"task": "delaunay", "model": "ptr", "n_low": n, "n_high": n} for n in config.delaunay_sizes),
    ]


def run(config: Config, condition: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    task, kind, low, high = condition["task"], condition["model"], condition["n_low"], condition["n_high"]
    steps = {"hull": config.hull_fixed_steps if low == high else config.hull_range_steps, "tsp": config.tsp_steps, "delaunay": config.delaunay_steps}[task]
    test_sizes = {"hull": (high,) if low == high else config.hull_test, "tsp": config.tsp_test, "delaunay": (high,)}[task]
    with jax.default_device(jax.devices(device)[0]):
        data = stack([draw(task, low, high, config.train_size, numpy_rng(seed, "train")) for seed in seeds])
        weights = stack([model.init(numpy_rng(seed, "init"), kind, config.hidden, high + 1, config.weight_range) for seed in seeds])
        batches = stack([numpy_rng(seed, "order").integers(config.train_size, size=(steps, config.batch)) for seed in seeds])
        weights, loss = over_seeds(partial(train, config, kind), device)(weights, batches, *data)
        rows = [{"loss": curve} for curve in np.asarray(loss)]
        for n in test_sizes:
            points = np.stack([numpy_rng(seed, f"test {n}").random((config.test_size, n, 2)) for seed in seeds])
            answers = over_seeds(partial(answer, config, task, kind), device)(weights, points)
            for row, P, C in zip(rows, points, np.asarray(answers), strict=True):
                known = task != "tsp" or n <= config.tsp_exact
                truth = geometry.pad_targets(solve(task, P, np.full(len(P), n)), longest(task, n) + 1) if known else None
                row |= {f"{name}_n{n}": value for name, value in marks(task, P, C, truth).items()}
                if n == high:
                    row |= {f"example_{name}": array[:3].astype(np.float32) for name, array in (("points", P), ("answer", C), ("truth", truth))}
    return rows


def over_seeds(program, device: str):
    """One compiled program for all seeds: side by side on a GPU; one behind the other on a CPU, where one seed's arrays fit the cache (see bench.py)."""
    return jax.jit(jax.vmap(program) if device == "cuda" else lambda *arguments: jax.lax.map(lambda one: program(*one), arguments))


def stack(per_seed: list):
    """One pytree whose arrays have the seeds in front."""
    return jax.tree.map(lambda *arrays: np.stack(arrays), *per_seed)


# --- instances


def draw(task: str, low: int, high: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Uniform points (count, high, 2), how many of them count (count,), and targets (count, M); sizes are uniform in low..high."""
    sizes = rng.integers(low, high + 1, count)
    points = rng.random((count, high, 2))
    targets = geometry.pad_targets(solve(task, points, sizes), longest(task, high) + 1)
    return points * (np.arange(high) < sizes[:, None])[..., None], sizes, targets


def longest(task: str, n: int) -> int:
    """The most pointers in an answer for n points."""
    return geometry.longest_triangulation(n) if task == "delaunay" else n


def solve(task: str, points: np.ndarray, sizes: np.ndarray) -> list[list[int]]:
    """The target of each instance, without stop symbol."""
    if task != "tsp":
        target = {"hull": geometry.hull_target, "delaunay": geometry.delaunay_target}[task]
        return [target(P[:n]) for P, n in zip(points, sizes, strict=True)]
    answers = [[]] * len(points)
    for n in np.unique(sizes):
        for i, tour in zip(np.flatnonzero(sizes == n), tours.held_karp(points[sizes == n, :n]).tolist(), strict=True):
            answers[i] = tour
    return answers


# --- training: the whole run is one program


def train(config: Config, kind: str, w: dict, batches: jax.Array, points: jax.Array, n: jax.Array, targets: jax.Array) -> tuple[dict, jax.Array]:
    """Maximum likelihood on solved instances: -sum_i log p(C_i | C_<i, P), mean over a batch. ``batches`` (steps, batch) are rows of the data.

    Returns the weights and the loss per pointer (nats), averaged over ``steps / curve_points`` steps at a time: (curve_points,).
    """
    steps = len(batches)
    if config.optimizer == "adam":
        descent = optax.adam(optax.linear_schedule(config.learning_rate, 0.0, steps))
    else:
        descent = optax.sgd(config.learning_rate)
    optimizer = optax.chain(optax.clip_by_global_norm(config.clip), descent)

    def loss(w, points, n, targets):
        return -jax.vmap(partial(model.log_likelihood, kind, w))(points, n, targets).sum() / config.batch

    def step(carry, rows):
        w, state = carry
        value, gradient = jax.value_and_grad(loss)(w, points[rows], n[rows], targets[rows])
        update, state = optimizer.update(gradient, state)
        return (optax.apply_updates(w, update), state), value * config.batch / (targets[rows] >= 0).sum()

    (w, _), losses = jax.lax.scan(step, (w, optimizer.init(w)), batches)
    stretch = -(-steps // config.curve_points)
    return w, losses[: steps // stretch * stretch].reshape(-1, stretch).mean(1)


# --- test


def answer(config: Config, task: str, kind: str, w: dict, points: jax.Array) -> jax.Array:
    """Answers (instances, M) for points (instances, n, 2): beam search over tours, else greedy."""
    n = points.shape[1]
    if task == "tsp":
        return jax.vmap(lambda P: model.beam_search(w, P, config.beam))(points)
    return jax.vmap(lambda P: model.greedy(kind, w, P, n, longest(task, n) + 1))(points)


def marks(task: str, points: np.ndarray, answers: np.ndarray, truth: np.ndarray | None) -> dict[str, float]:
    """Means over one seed's test instances (instances, n, 2), answers and true targets (instances, M); tours of many cities have no known truth."""
    if task == "tsp":
        return tour_marks(points, answers, truth)
    if task == "hull":
        names, mark = ("accuracy", "simple", "coverage"), geometry.mark_hull
    else:
        names, mark = ("accuracy", "coverage"), lambda _, C, target: geometry.mark_triangulation(C, target)
    each = np.array([mark(P, C, target) for P, C, target in zip(points, answers, truth, strict=True)], float)
    return dict(zip(names, each.mean(0).tolist(), strict=True))


def tour_marks(points: np.ndarray, answers: np.ndarray, truth: np.ndarray | None) -> dict[str, float]:
    """Mean lengths of the network's tours, of the heuristics' and, where it is known, of the best ones, all on the same instances."""
    lengths = {
        "length": tours.tour_length(points, answers),
        "greedy_edge": tours.greedy_edge_length(points),
        "insertion_2opt": tours.tour_length(points, tours.two_opt(points, tours.farthest_insertion(points))),
    }
    if truth is not None:
        lengths["optimal"] = tours.tour_length(points, truth[:, :-1])  # without the stop symbol
    means = {name: float(each.mean()) for name, each in lengths.items()}
    return means | ({"ratio": means["length"] / means["optimal"]} if truth is not None else {})


if __name__ == "__main__":
    main(__file__)
