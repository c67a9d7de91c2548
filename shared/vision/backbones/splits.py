"""Which classes a backbone may be trained on, which are for choosing hyper-parameters, which for the streams of the papers. No class is in two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64

from shared.data import cifar10, omniglot

Part = Literal["pretraining", "validation", "streams"]
PRETRAINING_ALPHABETS = 20
VEHICLES = ("airplane", "automobile", "ship", "truck")


def omniglot_alphabets(characters: omniglot.Characters, part: Part) -> Int64[np.ndarray, " alphabets"]:
    """Indices of the alphabets: the first 20 of the background set by name for pre-training (633 characters), its other 10 (Korean to Tifinagh, 331 characters)
    for validation, the evaluation set (659 characters) for streams."""
    if part == "streams":
        return np.flatnonzero(characters.evaluation)
    background = np.flatnonzero(~characters.evaluation)  # alphabet_names is sorted
    return background[:PRETRAINING_ALPHABETS] if part == "pretraining" else background[PRETRAINING_ALPHABETS:]


def omniglot_part(part: Part) -> omniglot.Characters:
    """The drawings of one part."""
    characters = omniglot.load()
    return characters.only(omniglot_alphabets(characters, part))


def cifar_classes(part: Literal["pretraining", "streams"]) -> list[int]:
    """Vehicles for pre-training, animals for streams."""
    return [index for index, name in enumerate(cifar10.CLASSES) if (name in VEHICLES) == (part == "pretraining")]


@dataclass(frozen=True)
class TrainingImages:
    """What a recipe is trained on."""

    x: Float32[np.ndarray, "n channels height width"]
    """In [0, 1]."""
    y: Int64[np.ndarray, " n"]
    """0..classes - 1, before any rotation."""
    classes: tuple[str, ...]
    title: str
    terms: str
    source: str


def omniglot_training() -> TrainingImages:
    drawings = omniglot_part("pretraining")
    characters, y = np.unique(drawings.character, return_inverse=True)
    names = tuple(drawings.character_names[index] for index in characters)
    title = f"{omniglot.DATASET.title}: {len(names)} characters of the first {PRETRAINING_ALPHABETS} background alphabets by name, all 20 drawers"
    return TrainingImages(drawings.x[:, None].astype(np.float32), y.astype(np.int64), names, title, omniglot.DATASET.licence, drawings.source)


def vehicles(part: Literal["train", "test"]) -> TrainingImages:
    images = cifar10.load()
    x, y = (images.x_train, images.y_train) if part == "train" else (images.x_test, images.y_test)
    chosen = cifar_classes("pretraining")
    rows = np.isin(y, chosen)
    title = f"{cifar10.DATASET.title}: the {part} images of {', '.join(VEHICLES)}"
    scaled = x[rows].transpose(0, 3, 1, 2).astype(np.float32) / 255
    return TrainingImages(scaled, np.searchsorted(chosen, y[rows]), VEHICLES, title, cifar10.DATASET.licence, images.source)
