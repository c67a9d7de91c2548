"""What can a Single Attention Layer Learn? A Study Through the Random Features Lens (Fu, Guo, Bai, Mei; NeurIPS 2023).

What is run: test error against the number of examples n of random-feature attention (RFA), of its biased variant (BRFA) and of a random-feature MLP (RFMLP)
with as many trained parameters, on ten targets that ignore the order of the keys; then against the number of heads M, up to the infinite-width kernels, and of
tokens N; and one task made from scikit-learn's digits.
Hardware: 2 CPU cores, about 2 minutes (profile cpu).
To reach: no numbers (the paper has curves); RFA below RFMLP on averages of key tokens, BRFA below RFA on targets that oscillate with <x_0, x_i>.
Command: python -m papers.random_feature_attention.replicate --profile cpu
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from papers.random_feature_attention.model import (
    attention_features,
    attention_kernel,
    draw_direction,
    draw_query_key_matrices,
    draw_tokens,
    mlp_features,
    mlp_kernel,
    targets,
    tuned_ridge_errors,
)
from shared.data import digits
from shared.engine import main, per_seed
from shared.seeds import numpy_rng


@dataclass(frozen=True)
class Config:
    d: int = 6
    """Dimension of a token. Paper: 16."""
    N: int = 8
    """Key tokens. Paper: 16."""
    M: int = 150
    """Heads; M (d + 1) parameters are trained, in the MLP too. Paper: 1000."""
    std: float = 0.5
    """Standard deviation of the query-key matrices of RFA; its errors do not depend on it. Paper: 1/2."""
    biases: tuple[float, ...] = (1.0, 4.0)
    """b, the multiples of W_0 that are the means of BRFA's query-key matrices. Paper: 1."""
    biased_stds: tuple[float, ...] = (0.2, 0.5)
    """Standard deviations around those means; only b / std matters. Paper: 1/2."""
    sizes: tuple[int, ...] = (25, 50, 75, 150, 300, 600, 1200)
    """n, training examples; n/4 more choose the ridge strength."""
    fixed_n: int = 600
    """The n of the comparison of numbers of heads."""
    heads: tuple[int, ...] = (10, 30, 100, 300, 1000)
    """Other numbers of heads to try at ``fixed_n``."""
    tokens: tuple[int, ...] = (2, 4, 16)
    """Other numbers of key tokens to try."""
    test_points: int = 2000
    """Fresh inputs for the test error."""
    variance_points: int = 50_000
    """Inputs from which the mean and the variance of a target are estimated."""
    noise: float = 0.01
    """Variance of the label noise in units of the target's variance, for the metrics named ..._noisy."""
    strengths: int = 19
    """Ridge strengths tried, log-spaced from 1e-9 to 1 times the largest eigenvalue of the training kernel."""


def conditions(config: Config) -> list[dict]:
    maps = [{"features": "rfa"}, {"features": "rfmlp"}]
    biased = [{"features": "brfa", "b": b, "std": std} for b in config.biases for std in config.biased_stds]
    here = {"N": config.N, "M": config.M}
    grid = [{"experiment": "samples", **kind, **here} for kind in maps + biased]
    grid += [{"experiment": "samples", **kind, **here, "N": N} for N in config.tokens for kind in maps]
    grid += [{"experiment": "heads", **kind, **here, "M": M} for M in config.heads for kind in maps]
    grid += [{"experiment": "limit", **kind, "N": config.N} for kind in maps]
    return grid + [{"experiment": "digits", **kind, "M": config.M, "order": order} for order in ("raster", "shuffled") for kind in maps]


@per_seed
def run(config: Config, condition: dict, seed: int, device: str) -> dict:
    """Normalised test error of every target against n."""
    if condition["experiment"] == "digits":
        task = digit_blocks(config, seed, shuffled=condition["order"] == "shuffled")
        sizes = [n for n in config.sizes if n <= len(task.train.x)]
    else:
        sizes = config.sizes if condition["experiment"] == "samples" else (config.fixed_n,)
        task = tokens_on_the_sphere(config, condition["N"], seed, max(sizes))
    x = torch.from_numpy(np.concatenate([part.x for part in (task.train, task.validation, task.test)])).to(device)
    K = kernel(config, condition, seed, x, n_max=len(task.train.x))
    errors = learning_curves(config, sizes, K, task)
    return {"n": np.array(sizes)} | dict(zip(task.names, errors.T, strict=True))


def kernel(config: Config, condition: dict, seed: int, x: Tensor, n_max: int) -> Tensor:
    """K(x, x') of all inputs (rows) with the first ``n_max``, the training inputs (columns)."""
    rng = numpy_rng(seed, "weights")
    _, tokens, d = x.shape
    if condition["experiment"] == "limit":
        return attention_kernel(x, x[:n_max], config.std) if condition["features"] == "rfa" else mlp_kernel(x, x[:n_max])
    M = condition["M"]
    if condition["features"] == "rfmlp":
        w = rng.standard_normal((M * (d + 1), tokens * d + 1))
        phi = mlp_features(x, torch.from_numpy(w).to(x.device))
    else:
        W = draw_query_key_matrices(rng, M, d, condition.get("std", config.std), condition.get("b", 0.0))
        phi = attention_features(x, torch.from_numpy(W).to(x.device))
    return phi @ phi[:n_max].T


def learning_curves(config: Config, sizes: Sequence[int], K: Tensor, task: Task) -> np.ndarray:
    """(sizes, 2 T) test errors from the first n rows of the training and n/4 of the validation examples."""
    y, y_validation, y_test = (torch.from_numpy(part.y).to(K.device) for part in (task.train, task.validation, task.test))
    K_train, K_validation, K_test = K.split([len(y), len(y_validation), len(y_test)])
    strengths = torch.logspace(-9, 0, config.strengths, dtype=K.dtype, device=K.device)
    errors = []
    for n in sizes:
        v = n // 4
        K_new = torch.cat([K_validation[:v, :n], K_test[:, :n]])
        errors.append(tuned_ridge_errors(K_train[:n, :n], K_new, y[:n], y_validation[:v], y_test, strengths))
    return torch.stack(errors).cpu().numpy().astype(np.float32)


# ---- tasks ----


class Examples(NamedTuple):
    x: np.ndarray
    """(n, N + 1, d) the query, then the keys"""
    y: np.ndarray
    """(n, 2 T) targets of mean 0 and variance 1, first without, then with label noise; test labels have none"""


class Task(NamedTuple):
    names: list[str]
    """Of the 2 T columns of y."""
    train: Examples
    validation: Examples
    test: Examples


def make_task(config: Config, seed: int, inputs: Iterable[np.ndarray], f: Callable[[np.ndarray], dict], sample: np.ndarray) -> Task:
    """Label the training, validation and test inputs by the functions ``f``, whose mean and variance are taken from a large ``sample`` of inputs."""
    moments = {name: (values.mean(), values.std()) for name, values in f(sample).items()}
    parts = []
    for part, x in zip(("train", "validation", "test"), inputs, strict=True):
        y = np.stack([(values - moments[name][0]) / moments[name][1] for name, values in f(x).items()], axis=1)
        noise = 0.0 if part == "test" else np.sqrt(config.noise)
        parts.append(Examples(x, np.hstack([y, y + noise * numpy_rng(seed, f"{part} noise").standard_normal(y.shape)])))
    return Task([*moments, *(f"{name}_noisy" for name in moments)], *parts)


def tokens_on_the_sphere(config: Config, N: int, seed: int, n_max: int) -> Task:
    """The paper's simulated inputs and ten targets along one random direction."""
    beta = draw_direction(numpy_rng(seed, "beta"), config.d)
    counts = {"train": n_max, "validation": n_max // 4, "test": config.test_points, "sample": config.variance_points}
    *inputs, sample = (draw_tokens(numpy_rng(seed, f"{part} tokens"), count, N, config.d) for part, count in counts.items())
    return make_task(config, seed, inputs, lambda x: targets(x, beta), sample)


def digit_blocks(config: Config, seed: int, shuffled: bool) -> Task:
    """Digits as sets of 16 blocks: the ink of the blocks near a random place, in raster order of the blocks or in random order.

    A key is a 2x2 block: its four pixels and its two coordinates, all scaled to [-1, 1], so that |x_i|^2 <= d = 6; the query holds the coordinates of the place
    and no pixels. Target: mean over blocks of exp(-2 |place - place_i|^2) times the block's ink.
    """
    images = digits.load()
    rng, order_rng = numpy_rng(seed, "digit queries"), numpy_rng(seed, "order of the keys")
    axis = np.linspace(-1, 1, 4)
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(16, 2)

    def inputs(pictures: np.ndarray) -> np.ndarray:
        """(n, 8, 8) bytes -> (n, 17, 6)"""
        blocks = pictures.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4) / 8 - 1
        keys = np.concatenate([blocks, np.broadcast_to(places, (len(blocks), 16, 2))], axis=2)
        query = np.concatenate([np.zeros((len(keys), 1, 4)), places[rng.integers(16, size=(len(keys), 1))]], axis=2)
        if shuffled:
            order = order_rng.random((len(keys), 16)).argsort(axis=1)
            keys = np.take_along_axis(keys, order[:, :, None], axis=1)
        return np.concatenate([query, keys], axis=1)

    def ink_near_the_query(x: np.ndarray) -> dict:
        distance2 = ((x[:, 1:, 4:] - x[:, :1, 4:]) ** 2).sum(axis=2)
        return {"ink": (np.exp(-2 * distance2) * (x[:, 1:, :4].mean(axis=2) + 1)).mean(axis=1)}

    pool = rng.permutation(images.x_train)
    n_max = len(pool) * 4 // 5
    test = np.resize(images.x_test, (config.test_points, 8, 8))  # each image with several places
    parts = [inputs(pool[:n_max]), inputs(pool[n_max:]), inputs(test)]
    return make_task(config, seed, parts, ink_near_the_query, inputs(np.resize(images.x_train, (config.variance_points, 8, 8))))


if __name__ == "__main__":
    main(__file__)
