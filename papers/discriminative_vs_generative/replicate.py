"""Revisiting Discriminative vs. Generative Classifiers: Theory and Implications (Zheng, Wu, Bao, Cao, Li, Zhu; ICML 2023).

What is run: the number of samples that naive Bayes and logistic regression need on a Gaussian mixture, against the dimension n and the number of classes K;
their error against the number of labels m on frozen features of encoders trained here (with labels, without) and on raw data; statistics of the theory's
assumptions on those features.
Hardware: 2 CPU cores, about 2 minutes (profile cpu). The features need MNIST; without it their claims are "not run", the simulation still is.
Number to reach: log-log slopes of samples needed on n near 0 (naive Bayes) and near 1 (logistic regression).
Command: python -m papers.discriminative_vs_generative.replicate --profile cpu
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from papers.discriminative_vs_generative import encoders
from papers.discriminative_vs_generative.model import (
    GaussianMixture,
    Labelled,
    assumption_statistics,
    draw_subset,
    error_curves,
    error_rate,
    logistic_regression,
    naive_bayes,
    sample_complexity,
)
from shared.data import bundled, cifar10, digits, mnist
from shared.data.splits import stratified_split
from shared.engine import main, per_seed
from shared.seeds import numpy_rng, seed_torch

SOURCE_CLASSES = 5
"""Encoders are trained with the labels of classes 0-4 (A); the features are judged on classes 5-9 (B)."""
BACKBONES = {"resnet": "labels", "vit": "labels", "clip": "captions", "moco_v2": "none", "simclr_v2": "none", "mae": "none", "simmim": "none"}
"""The paper's backbones, under the official code's names, and what they were pre-trained with."""


@dataclass(frozen=True)
class Config:
    dimensions: tuple[int, ...] = (25, 50, 100, 200, 400)
    """n of the simulation with two classes. Paper: 100, 200, 400, 1000."""
    dimensions_multiclass: tuple[int, ...] = (100, 200, 400)
    """n of the simulation with more classes; from 100 on, because below, the Bayes error is no longer small beside the tolerance."""
    classes: tuple[int, ...] = (3, 5)
    """K of the simulation with more classes. Paper: 3, 5, 7."""
    tolerance: float = 0.01
    """Excess over the Bayes error that counts as arrived."""
    test_points: int = 10_000
    """Test points of the simulation."""
    runs: int = 4
    """Searches for m* per seed with two classes, each with draws of its own from the pool; their m* are averaged. One with more classes. Paper: 5 in all."""
    ladder: float = 1.25
    """Growth of m while m* is being bracketed, for K > 2; with K = 2 every m of the paper's grid is visited."""
    features: str = "mnist"
    """Where frozen features come from: mnist (MLP encoders), cifar10 (ResNet-18 encoders), files (the paper's backbones) or none."""
    encoders: tuple[str, ...] = ("supervised", "denoising")
    """Encoders to compare: supervised, denoising, simclr; with features = files, the backbones' names."""
    files: str = ""
    """Folder with <backbone>/cifar10/train_features.npy and val_features.npy, label in the last column, as the official extraction script writes them."""
    supervised_steps: int = 480
    """Updates of the supervised encoder, in batches of 256: 4 passes over MNIST's digits 0-4."""
    unsupervised_steps: int = 480
    """Updates of the encoder without labels, in batches of 256: 2 passes over all of MNIST."""
    images_per_class: int | None = None
    """Training images of each class, for the encoders and for the classifiers; all of them if not given."""
    sizes: tuple[int, ...] = (10, 20, 50, 100, 200, 500, 1000, 5000, 20_000)
    """m, labelled examples in total; those from 2K up to what there is are used."""
    repeats: int = 5
    """Random subsets for each m. Paper: 5."""
    repeated_points: int = 5000
    """Fewer subsets are drawn where repeats x m would exceed this (one at least): an m in the thousands hardly varies."""
    validation: int = 4000
    """Labelled training examples of classes B set aside to choose C."""
    Cs: tuple[float, ...] = (0.1, 0.2, 1.0, 5.0, 20.0)
    """Inverse L2 strengths tried, the same at every m."""
    splits: int = 4
    """Random splits of the raw data sets for each seed, with one subset per m."""


def conditions(config: Config) -> list[dict]:
    simulation = [(2, n) for n in config.dimensions] + [(K, n) for K in config.classes for n in config.dimensions_multiclass]
    grid = [{"experiment": "simulation", "K": K, "n": n} for K, n in simulation]
    if config.features != "none":
        kinds = {"supervised": "labels", "denoising": "none", "simclr": "none"} | BACKBONES
        grid += [{"experiment": "features", "encoder": name, "pretraining": kinds[name]} for name in config.encoders]
    return grid + [{"experiment": "raw", "dataset": name} for name in ("digits", "breast_cancer")]


@per_seed
def run(config: Config, condition: dict, seed: int, device: str) -> dict:
    if condition["experiment"] == "simulation":
        return samples_needed(config, condition["K"], condition["n"], seed)
    if condition["experiment"] == "features":
        return on_features(config, condition["encoder"], seed, device)
    return on_raw_data(config, condition["dataset"], seed)


# --- Simulation ---------------------------------------------------------------------------------------------------------------------------------------


def samples_needed(config: Config, K: int, n: int, seed: int) -> dict:
    """m* of both classifiers, which see the same draws from one pool of 100 n points and are judged on the same test points."""
    mixture = GaussianMixture(n, K)
    X, y = mixture.sample(numpy_rng(seed, "pool"), 100 * n)
    test = mixture.sample(numpy_rng(seed, "test"), config.test_points)

    def error(fit, r, m):
        chosen = draw_subset(numpy_rng(seed, f"draw of {m} in run {r}"), y, m, K)
        return error_rate(fit(X[chosen], y[chosen]), *test)

    def mean_m_star(fit, runs):
        search = functools.partial(sample_complexity, n=n, K=K, m_max=len(y), ladder=1.0 if K == 2 else config.ladder)
        threshold = mixture.bayes_error + config.tolerance
        return float(np.mean([search(functools.cache(functools.partial(error, fit, r)), threshold=threshold) for r in range(runs)]))

    runs = config.runs if K == 2 else 1
    return {
        "m_nb": mean_m_star(functools.partial(naive_bayes, K=K), runs),
        "m_lr": mean_m_star(logistic_regression, runs),
        "bayes_error": mixture.bayes_error,
    }


# --- Frozen features ----------------------------------------------------------------------------------------------------------------------------------


def on_features(config: Config, name: str, seed: int, device: str) -> dict:
    """Errors against m on the features of one encoder, and the statistics of the assumptions on all of its training features."""
    train, test = features_from_files(config, name) if config.features == "files" else features_made_here(config, name, seed, device)
    rng = numpy_rng(seed, "subsets")
    order = rng.permutation(len(train.y))
    validation, pool = (Labelled(train.X[part], train.y[part]) for part in (order[: config.validation], order[config.validation :]))
    statistics = {key: percentiles(value) for key, value in assumption_statistics(train).items()}
    return compare(config, rng, pool, validation, test, config.repeats) | statistics


def features_from_files(config: Config, backbone: str) -> tuple[Labelled, Labelled]:
    """Training and test features of one of the paper's backbones on CIFAR-10."""
    parts = []
    for part in ("train", "val"):
        path = Path(config.files) / backbone / "cifar10" / f"{part}_features.npy"
        if not path.is_file():
            raise FileNotFoundError(
                f"no {path}: extract the features with the official code's main_extract_features.py and name their folder in --config.files"
            )
        table = np.load(path)
        parts.append(Labelled(table[:, :-1], table[:, -1].astype(int)))
    return parts[0], parts[1]


def features_made_here(config: Config, name: str, seed: int, device: str) -> tuple[Labelled, Labelled]:
    """Train an encoder, with the labels of classes A or on A and B without labels, and encode the training and test images of B."""
    small = config.features == "mnist"
    data = (mnist if small else cifar10).load(train_per_class=config.images_per_class)

    def as_tensor(images):
        """(size, h, w[, 3]) bytes -> (size, channels, h, w) in [0, 1]"""
        images = torch.from_numpy(images.reshape(*images.shape[:3], -1)).to(device)
        return images.permute(0, 3, 1, 2).float().contiguous() / 255

    seed_torch(seed, f"encoder {name}")
    encoder = encoders.mlp(data.x_train[0].size).to(device) if small else encoders.resnet().to(device, memory_format=torch.channels_last)
    width, optimiser = (256, "adam") if small else (512, "sgd")
    images, labels = as_tensor(data.x_train), torch.from_numpy(data.y_train).to(device)
    if name == "supervised":
        in_A = labels < SOURCE_CLASSES
        schedule = encoders.Schedule(config.supervised_steps, optimiser=optimiser)
        encoders.supervised(encoder, width, images[in_A], labels[in_A], schedule, augmented=not small)
    else:
        objective = {"denoising": encoders.denoising, "simclr": encoders.simclr}[name]
        objective(encoder, width, images, encoders.Schedule(config.unsupervised_steps, optimiser=optimiser))
    parts = ((data.x_train, data.y_train), (data.x_test, data.y_test))
    train, test = (Labelled(encoders.encode(encoder, as_tensor(x[y >= SOURCE_CLASSES])), y[y >= SOURCE_CLASSES] - SOURCE_CLASSES) for x, y in parts)
    return train, test


def compare(config: Config, rng: np.random.Generator, pool: Labelled, validation: Labelled, test: Labelled, repeats: int) -> dict:
    """Errors of both classifiers against m, means over at most ``repeats`` subsets."""
    K = pool.y.max() + 1
    sizes = [m for m in config.sizes if 2 * K <= m <= len(pool.y)]
    return error_curves(rng, sizes, lambda m: max(1, min(repeats, config.repeated_points // m)), pool, validation, test, config.Cs)


def percentiles(values: np.ndarray) -> np.ndarray:
    """101 percentiles, what a record keeps of a distribution."""
    return np.percentile(values, np.arange(101)).astype(np.float32)


# --- Raw data -----------------------------------------------------------------------------------------------------------------------------------------


def on_raw_data(config: Config, name: str, seed: int) -> dict:
    """The classical comparison on the inputs themselves, averaged over random splits: 30% test, of the rest 30% to choose C."""
    if name == "digits":
        images = digits.load()
        X, y = np.concatenate([images.x_train, images.x_test]).reshape(-1, 64).astype(float), np.concatenate([images.y_train, images.y_test])
    else:
        table = bundled.load(name)
        X, y = table.x, table.y
    curves = []
    for s in range(config.splits):
        rng = numpy_rng(seed, f"split {s}")
        train, test = stratified_split(y, 0.3, rng)
        pool, validation = (train[part] for part in stratified_split(y[train], 0.3, rng))
        curves.append(compare(config, rng, *(Labelled(X[part], y[part]) for part in (pool, validation, test)), repeats=1))
    return {key: np.mean([curve[key] for curve in curves], axis=0) for key in ("m", "error_nb", "error_lr", "error_lr_by_C", "Cs")}


if __name__ == "__main__":
    main(__file__)
