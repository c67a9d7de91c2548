"""The data sets that tasks are made from, standardised: one for meta-training, others that the learner never sees."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from papers.general_purpose_icl.model import Base
from shared.data import bundled, cifar10, digits, fashion_mnist, mnist, usps
from shared.data.splits import first_of_each_class

IMAGES = {"digits": digits.load, "mnist": mnist.load, "usps": usps.load, "fashion_mnist": fashion_mnist.load, "cifar10": cifar10.load}
CLASSES = 10
"""Of each of them."""
LATER = "digits, later classes"
"""The classes of the digits that come after those of meta-training."""
UNSEEN = (LATER, *(name for name in bundled.TABLES if name != "diabetes"), *IMAGES)  # diabetes is a regression
REPEATED = "random inputs, repeated"
"""The paper's control: inputs without any structure. The learner can only bind an input that returns to the label it had."""


def flat(images: np.ndarray) -> Float[np.ndarray, "n dx"]:
    return images.reshape(len(images), -1).astype(np.float64)


def pixel_scale(x: Float[np.ndarray, "n dx"]) -> tuple[np.ndarray, float]:
    """Mean of every pixel and one scale for all of them: pixels that are nearly always blank stay small."""
    mean = x.mean(axis=0)
    return mean, float(np.sqrt(np.square(x - mean).mean()))


def base_of(x: np.ndarray, y: np.ndarray) -> Base:
    return Base(x.astype(np.float32), y.astype(np.int32))


def meta_training_set(name: str, C: int) -> tuple[Base, Base]:
    """Classes 0 .. C - 1 of a set of images: those to meta-train on, and unseen ones, both scaled by the statistics of the first."""
    images = IMAGES[name]()
    train, test = images.y_train < C, images.y_test < C
    x = flat(images.x_train[train])
    mean, scale = pixel_scale(x)
    return base_of((x - mean) / scale, images.y_train[train]), base_of((flat(images.x_test[test]) - mean) / scale, images.y_test[test])


def balanced(y: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " chosen"]:
    """The first examples of every class, equally many (at most ``most``), so that chance is 1 / number of classes."""
    return first_of_each_class(y, min(most, int(np.bincount(y).min())))


def unseen_set(name: str, C: int, most: int, rng: np.random.Generator) -> Base:
    """Another data set, with at most C classes, as many examples of each, scaled by its own statistics."""
    if name == REPEATED:
        return base_of(rng.normal(size=(2 * C, 64)), np.arange(2 * C) % C)
    if name in bundled.TABLES:
        table = bundled.load(name)
        chosen = balanced(table.y, most)
        x = table.x[chosen]
        return base_of((x - x.mean(axis=0)) / x.std(axis=0), table.y[chosen])  # features have units of their own
    images = IMAGES["digits" if name == LATER else name]()
    first = C if name == LATER else 0
    wanted = np.flatnonzero((images.y_test >= first) & (images.y_test < first + C))
    y = images.y_test[wanted] - first
    chosen = balanced(y, most)
    x = flat(images.x_test[wanted[chosen]])
    mean, scale = pixel_scale(x)
    return base_of((x - mean) / scale, y[chosen])


def classes(name: str, C: int) -> int:
    """How many of its classes a data set never seen brings to a task."""
    return len(bundled.load(name).classes) if name in bundled.TABLES else C
