"""How each backbone is made: its network, the classes that it learns to tell apart, and the numbers of its training."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from shared.vision import augment, networks
from shared.vision.backbones.splits import TrainingImages, omniglot_training, vehicles

ROTATIONS = 4
"""Every image is also shown turned by 90, 180 and 270 degrees. A turned class is a class of its own."""


@dataclass(frozen=True)
class Recipe:
    network: Callable[[int], networks.Network]
    data: Callable[[], TrainingImages]
    committed: bool
    """Whether its weights may lie in this repository: only where the data's terms are stated and free."""
    optimizer: str
    """``sgd`` (momentum 0.9) or ``adamw`` (decay on matrices only); the learning rate ends at 0 by half a cosine."""
    learning_rate: float
    weight_decay: float
    epochs: int
    """Passes over all images in all four rotations."""
    shift: int
    """Images are moved by up to so many pixels on each axis."""
    batch: int = 128
    warm_up: int = 0
    """Epochs in which the learning rate rises."""
    label_smoothing: float = 0.0
    flip: bool = False
    bf16: bool = False
    """Run the forward pass in bfloat16 and with channels last, which more than doubles the speed of convolutions on processors that have it."""
    longer: str = ""
    """What more one would do with more time than ten minutes on one core."""


RECIPES = {
    "conv4": Recipe(lambda classes: networks.Conv4(classes), omniglot_training, True, "sgd", 0.1, 5e-4, epochs=12, shift=2, bf16=True, longer="30 epochs"),
    "vit28": Recipe(
        networks.vit28,
        omniglot_training,
        True,
        "adamw",
        1e-3,
        0.05,
        epochs=9,
        shift=2,
        warm_up=1,
        label_smoothing=0.1,
        longer="60 epochs, the first 5 with a rising learning rate",
    ),
    "res8c": Recipe(networks.resnet8, lambda: vehicles("train"), False, "sgd", 0.1, 5e-4, epochs=6, shift=4, flip=True, bf16=True),
}


def split_name(name: str) -> tuple[str, int]:
    """``conv4-1`` -> recipe ``conv4`` and seed 1; no seed means 0."""
    match = re.fullmatch(r"([a-z0-9]+?)(?:-(\d+))?", name)
    if not match or match[1] not in RECIPES:
        raise ValueError(f"no backbone is called {name!r}: choose one of {', '.join(RECIPES)}, with -1, -2, ... for another seed")
    return match[1], int(match[2] or 0)


def optimizer_of(recipe: Recipe, network: networks.Network) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay)
    matrices, others = [], []
    for parameter in network.parameters():
        (matrices if parameter.squeeze().ndim > 1 else others).append(parameter)
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, recipe.learning_rate)


def examples(recipe: Recipe, x: Tensor, y: Tensor, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Images and labels of a batch: row r stands for image r % n turned r // n times, whose label is 4 times the class plus the number of quarter turns."""
    image, turns = rows % len(x), rows // len(x)
    seen = augment.shift(x[image], recipe.shift, generator)
    if recipe.flip:  # before the turn: mirrored afterwards, a quarter turn would look like three
        seen = augment.flip(seen, generator)
    return turned(seen, turns), ROTATIONS * y[image] + turns


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Each image turned by so many quarter turns."""
    result = x.clone()
    for k in range(1, ROTATIONS):
        result[turns == k] = x[turns == k].rot90(k, (2, 3))
    return result
