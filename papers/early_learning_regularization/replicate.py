"""Early-Learning Regularization (Liu, Niles-Weed, Razavian and Fernandez-Granda, NeurIPS 2020, arXiv 2007.00151): Theorem 1, Figs. 1, A.1, C.1, H.1.

What is run   passage: the linear model up to time T (Proposition 5); linear: the linear model to the end (Fig. A.1), with four regularisers;
              digits: a small network on real digits with wrong labels; photographs (gpu, paper): ResNet-34 on CIFAR-10, the paper's main table.
Hardware      one CPU core (cpu) or one GPU (gpu)
Minutes       about 4 (cpu)
To reach      memorised share of wrong labels about 0.87 by cross-entropy against 0.03 by ELR (paper, Fig. 1, CIFAR-10, 40 % noise)
Command       python -m papers.early_learning_regularization.replicate --profile cpu
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from papers.early_learning_regularization import linear, mlp, photographs
from papers.early_learning_regularization.losses import Objective, objective
from shared.data import digits
from shared.data.label_noise import symmetric
from shared.data.splits import stratified_split
from shared.engine import main
from shared.optim.many import train_many
from shared.seeds import jax_keys, numpy_rng

BETA, LAM = 0.7, 3.0  # the paper's choice for symmetric noise on CIFAR-10
KL_STRENGTHS = (1.0, 5.0, 10.0)  # Appendix C


@dataclass(frozen=True)
class Config:
    passage_n: int = 1200
    """Points of the early-phase check. Theory: n, p to infinity at p / n in (1 - delta / 2, 1)."""
    passage_p: int = 1000
    """Their dimension."""
    passage_sigmas: tuple[float, ...] = (0.02, 0.05, 0.1)
    """Noise around the cluster centres. Theory: small."""
    passage_rate: float = 0.02
    """Step size of the early-phase check."""
    linear_n: int = 120
    """Points of the long run."""
    linear_p: int = 100
    """Their dimension (the paper's Appendix B)."""
    linear_sigma: float = 0.3
    """Noise around the cluster centres (the paper's value is not known)."""
    linear_rate: float = 0.1
    """Step size of the long run."""
    linear_steps: int = 10_000
    """Full-batch steps of the long run."""
    linear_radii: tuple[float, ...] = (0.1, 2.0)
    """Norms of theta_0. Theory: 2."""
    linear_test: int = 4000
    """Fresh points for the test accuracy of the long run."""
    delta: float = 0.4
    """Share of labels replaced by a fair coin in the linear model; half of them are wrong."""
    hidden: int = 256
    """Units of both hidden layers of the digits network."""
    epochs: int = 150
    """Passes over the digits."""
    batch: int = 64
    """Images per step on the digits."""
    rate: float = 0.05
    """Step size on the digits (momentum 0.9, no weight decay, so that cross-entropy does memorise)."""
    decay_at: tuple[float, ...] = (1 / 3, 2 / 3)
    """Where in the run the step size falls to a hundredth, in the digits runs with schedule "decay". Paper, on CIFAR-10: a third and two thirds."""
    photographs: bool = False
    """Train on CIFAR-10 too (hours on a CPU)."""
    photo_epochs: int = 120
    """Passes over CIFAR-10. Paper: 120."""
    photo_milestones: tuple[int, ...] = (40, 80)
    """Epochs at which the step size falls to a hundredth. Paper: 40, 80."""
    photo_noises: tuple[float, ...] = (0.4, 0.8)
    """Symmetric noise rates on CIFAR-10. Paper: 0.2, 0.4, 0.6, 0.8."""
    photo_asymmetric: tuple[float, ...] = ()
    """Asymmetric noise rates on CIFAR-10 (ELR with beta 0.9 and lambda 1). Paper: 0.1 to 0.4."""
    photo_batch: int = 128
    """Images per step on CIFAR-10 (the paper's)."""
    photo_per_class: int = 0
    """Training images of each class; 0 for all."""
    photo_small: bool = False
    """ResNet-8 instead of ResNet-34, to try the code."""


def conditions(config: Config) -> list[dict]:
    compared = [("ce", 0.0), ("elr", LAM), *(("kl", lam) for lam in KL_STRENGTHS)]
    grid = [{"part": "passage", "sigma": sigma} for sigma in config.passage_sigmas]
    grid += [{"part": "linear", "loss": name, "lam": lam, "beta": BETA, "radius": radius} for radius in config.linear_radii for name, lam in compared]
    for noise in (0.2, 0.4, 0.6):
        extra = {0.2: [], 0.4: [("gce", 0.0, BETA), *(("kl", lam, BETA) for lam in KL_STRENGTHS)], 0.6: [("elr", LAM, 0.0)]}[noise]
        for name, lam, beta in [("ce", 0.0, BETA), ("elr", LAM, BETA), *extra]:
            grid.append({"part": "digits", "loss": name, "lam": lam, "beta": beta, "noise": noise, "schedule": "constant"})
    grid += [{"part": "digits", "loss": name, "lam": lam, "beta": BETA, "noise": 0.4, "schedule": "decay"} for name, lam in compared]
    if config.photographs:
        # At 80 % noise the KL term is left out, as the least informative of the six.
        settings = [("symmetric", noise, name, lam, BETA) for noise in config.photo_noises for name, lam in [("ce", 0.0), ("elr", LAM), ("kl", 5.0)]]
        settings += [("asymmetric", noise, name, lam, 0.9) for noise in config.photo_asymmetric for name, lam in [("ce", 0.0), ("elr", 1.0)]]
        for kind, noise, name, lam, beta in settings:
            if (noise, name) != (0.8, "kl"):
                grid.append({"part": "photographs", "kind": kind, "loss": name, "lam": lam, "beta": beta, "noise": noise})
    return grid


def run(config: Config, condition: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    match condition["part"]:
        case "photographs":
            return [train_on_photographs(config, condition, seed, device) for seed in seeds]
        case "passage":
            rows = pass_early_phase(config, condition, seeds)
        case "linear":
            rows = descend_linear(config, condition, seeds)
        case "digits":
            rows = train_on_digits(config, condition, seeds)
    return [{name: np.asarray(values[i], np.float32) for name, values in rows.items()} for i in range(len(seeds))]


def pass_early_phase(config: Config, condition: dict, seeds: tuple[int, ...]) -> dict:
    """From theta_0 on the sphere of radius 2 to T: squared coefficients and accuracy on wrong labels at both ends."""

    def one(key_data, key_start):
        points = linear.draw_points(key_data, config.passage_n, config.passage_p, condition["sigma"], config.delta)
        theta_0 = linear.draw_start(key_start, points.v, radius=2.0, largest=0.05)
        end = linear.run_until_aligned(theta_0, points, config.passage_rate, reached=0.1, most=2000)
        ends = {"start": theta_0, "T": end.theta}
        squares = {f"kappa2_{side}_{when}": mean_square(theta, points, side) for when, theta in ends.items() for side in ("right", "wrong")}
        accuracy = {f"wrong_correct_{when}": linear.agreement(theta, points.x, points.true, points.wrong) for when, theta in ends.items()}
        return {**squares, **accuracy, "T": end.step, "smallest_alignment": end.alignment}

    return jax.jit(jax.vmap(one))(jax_keys(seeds, "data"), jax_keys(seeds, "start"))


def mean_square(theta, points: linear.Points, side: str):
    """Mean kappa^2 over the rightly or the wrongly labelled points."""
    among = points.wrong if side == "wrong" else ~points.wrong
    return (linear.coefficients(theta, points) ** 2 * among).sum() / among.sum()


def descend_linear(config: Config, condition: dict, seeds: tuple[int, ...]) -> dict:
    """The long run of the linear model; curves over steps spaced evenly in their logarithm."""
    points = jax.vmap(lambda key: linear.draw_points(key, config.linear_n, config.linear_p, config.linear_sigma, config.delta))(jax_keys(seeds, "data"))
    fresh = jax.vmap(lambda key, v: fresh_points(key, v, config.linear_test, config.linear_sigma))(jax_keys(seeds, "test"), points.v)
    theta = jax.vmap(lambda key, v: linear.draw_start(key, v, condition["radius"], jnp.inf))(jax_keys(seeds, "start"), points.v)
    targets = jnp.zeros((len(seeds), config.linear_n, 2))
    schedule = np.unique(np.concatenate([[0], np.geomspace(1, config.linear_steps, 60).round()])).astype(int)
    step = linear_step(config.linear_rate)
    _, curves = train_many(step, measure_linear, schedule, (theta, targets), (points, fresh, goals(condition, len(seeds))))
    return {**curves, "steps": np.tile(schedule, (len(seeds), 1))}


def fresh_points(key, v, n: int, sigma: float):
    """Clean test points around the same v: inputs (n, p) and labels (n,)."""
    key_true, key_z = jax.random.split(key)
    true = jax.random.rademacher(key_true, (n,), float)
    return true[:, None] * (v - sigma * jax.random.normal(key_z, (n, len(v)))), true


@cache
def linear_step(rate: float):
    return lambda state, t, data: linear.regularised_step(*state, data[0], rate, data[2])


def goals(condition: dict, n_seeds: int) -> Objective:
    """The condition's objective, once for every seed."""
    goal = objective(condition["loss"], condition["beta"], condition["lam"])
    return jax.tree.map(lambda number: jnp.broadcast_to(number, n_seeds), goal)


def measure_linear(state, data) -> dict:
    (theta, targets), (points, (x_test, y_test), _) = state, data
    everyone = jnp.ones(len(y_test), bool)
    return {
        "right_correct": linear.agreement(theta, points.x, points.true, ~points.wrong),
        "wrong_correct": linear.agreement(theta, points.x, points.true, points.wrong),
        "wrong_memorised": linear.agreement(theta, points.x, points.observed, points.wrong),
        "test_accuracy": linear.agreement(theta, x_test, y_test, everyone),
        "kappa_right": jnp.sqrt(mean_square(theta, points, "right")),
        "kappa_wrong": jnp.sqrt(mean_square(theta, points, "wrong")),
        "target_accuracy": (jnp.where(targets[:, 0] > targets[:, 1], 1.0, -1.0) == points.true).mean(),
    }


def train_on_digits(config: Config, condition: dict, seeds: tuple[int, ...]) -> dict:
    """Curves every five epochs; the accuracy at the epoch that the noisy validation part would choose is reported beside the last."""
    drawn = [draw_digits(seed, condition["noise"]) for seed in seeds]
    examples, valid = jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)
    examples = examples._replace(key=jax_keys(seeds, "order"))
    n, sizes = examples.x.shape[1], (64, config.hidden, config.hidden, 10)
    start = jax.vmap(lambda key: mlp.init(key, sizes, n))(jax_keys(seeds, "init"))
    per_epoch = n // config.batch
    epochs = np.unique(np.append(np.arange(0, config.epochs, 5), config.epochs))
    data = (examples, valid, goals(condition, len(seeds)))
    decays = tuple(round(share * config.epochs) * per_epoch for share in config.decay_at) if condition["schedule"] == "decay" else ()
    end, curves = train_many(digits_step(config.batch, config.rate, decays), measure_digits, epochs * per_epoch, start, data)
    chosen = np.asarray(curves["valid_accuracy"]).argmax(1)
    diverged = [any(not np.isfinite(leaf[i]).all() for leaf in jax.tree.leaves(end.weights)) for i in range(len(seeds))]
    return {
        **curves,
        "epochs": np.tile(epochs, (len(seeds), 1)),
        "test_accuracy_chosen": np.asarray(curves["test_accuracy"])[np.arange(len(seeds)), chosen],
        "diverged": np.array(diverged, float),
    }


def draw_digits(seed: int, noise: float) -> tuple[mlp.Examples, tuple]:
    """1259 training, 179 validation and 359 test digits, split anew for every seed; training and validation labels are noisy, test labels clean."""
    images = digits.load(test_share=0.2, seed=seed)
    kept, held_out = stratified_split(images.y_train, 180 / len(images.y_train), numpy_rng(seed, "validation"))
    given = symmetric(images.y_train, noise, 10, numpy_rng(seed, f"noise {noise}"))
    x, x_test = (part.reshape(len(part), 64) / np.float32(16) for part in (images.x_train, images.x_test))
    examples = mlp.Examples(x[kept], given[kept], images.y_train[kept], x_test, images.y_test, None)
    return examples, (x[held_out], given[held_out])


@cache
def digits_step(size: int, rate: float, decays: tuple[int, ...]):
    """One step; the rate falls to a hundredth at each of the steps ``decays``."""

    def step(run, t, data):
        present = rate * 0.01 ** sum(t >= decay for decay in decays)
        return mlp.step(run, t, data[0], data[2], size=size, rate=present, momentum=0.9)

    return step


def measure_digits(run: mlp.Run, data) -> dict:
    examples, (x_valid, y_valid), _ = data
    return {**mlp.measure(run, examples), "valid_accuracy": (mlp.forward(run.weights, x_valid).argmax(-1) == y_valid).mean()}


def train_on_photographs(config: Config, condition: dict, seed: int, device: str) -> dict:
    curves = photographs.train(
        seed,
        device,
        name=condition["loss"],
        noise=condition["kind"],
        rate=condition["noise"],
        beta=condition["beta"],
        lam=condition["lam"],
        epochs=config.photo_epochs,
        milestones=config.photo_milestones,
        batch=config.photo_batch,
        per_class=config.photo_per_class or None,
        small=config.photo_small,
    )
    return {**curves, "test_accuracy_chosen": float(curves["test_accuracy"][curves["valid_accuracy"].argmax()])}


if __name__ == "__main__":
    main(__file__)
