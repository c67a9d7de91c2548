"""How good features are: class means and cosines in few-shot episodes and among many classes, and what each backbone's card reports."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64

from shared.data.episodes import Episodes, episodes
from shared.data.omniglot import Characters
from shared.seeds import numpy_rng
from shared.vision.backbones.features import as_input, extract
from shared.vision.backbones.recipes import ROTATIONS, turned
from shared.vision.backbones.splits import omniglot_part, vehicles
from shared.vision.networks import Network
from shared.vision.training import in_chunks

EPISODES = 600
TRAINING_DRAWERS = 15


def unit(z: np.ndarray) -> np.ndarray:
    """Vectors of length 1 along the last axis."""
    return z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-12)


def episode_accuracy(z: Float[np.ndarray, "n d"], found: Episodes, chunk: int = 50) -> Float[np.ndarray, " episodes"]:
    """Share of queries of each episode whose cosine with the mean of the unit support vectors is greatest for their own class."""
    z = unit(z)
    accuracies = []
    for begin in range(0, len(found.classes), chunk):
        support, query = found.support[begin : begin + chunk], found.query[begin : begin + chunk]
        means = unit(z[support].mean(2))  # (episodes, ways, d)
        scores = np.einsum("ewqd,evd->ewqv", z[query], means, optimize=True)
        accuracies.append((scores.argmax(-1) == np.arange(query.shape[1])[:, None]).mean((1, 2)))
    return np.concatenate(accuracies)


def class_mean_accuracy(z: Float[np.ndarray, "n d"], y: Int64[np.ndarray, " n"], z_test: Float[np.ndarray, "m d"], y_test: Int64[np.ndarray, " m"]) -> float:
    """As above with all classes at once: training examples (z, y), test examples (z_test, y_test)."""
    classes, place = np.unique(y, return_inverse=True)
    means = np.zeros((len(classes), z.shape[1]))
    np.add.at(means, place, unit(z))
    return float((classes[(unit(z_test) @ unit(means).T).argmax(1)] == y_test).mean())


def drawings_report(module: Network, drawings: Characters, seed: int = 0, count: int = EPISODES) -> dict[str, float]:
    """Few-shot accuracies on characters, and the accuracy among all of them from 15 drawers to the other 5."""
    z = extract(module, as_input(drawings.x, 28, 1)).numpy()
    report = {}
    for ways, shots in ((5, 1), (20, 1), (20, 5)):
        found = episodes(drawings.character, count, ways=ways, shots=shots, queries=15, rng=numpy_rng(seed, f"{ways} ways {shots} shots"))
        report[f"{ways}-way {shots}-shot"] = round(float(episode_accuracy(z, found).mean()), 4)
    seen = np.isin(drawings.drawer, numpy_rng(seed, "drawers").permutation(np.arange(1, 21))[:TRAINING_DRAWERS])
    among_all = class_mean_accuracy(z[seen], drawings.character[seen], z[~seen], drawings.character[~seen])
    return report | {f"{len(np.unique(drawings.character))} classes, {TRAINING_DRAWERS} drawers": round(among_all, 4)}


@torch.no_grad()
def vehicles_report(module: Network, per_class: int | None = None) -> dict[str, float]:
    """Accuracy on test images of the vehicles: 16 classes of vehicle and turn on all turned images, and the vehicle alone on upright ones."""
    module.eval()
    images = vehicles("test")
    rows = np.concatenate([np.flatnonzero(images.y == c)[:per_class] for c in range(len(images.classes))])
    x, y = torch.from_numpy(images.x[rows]), torch.from_numpy(images.y[rows])
    right = []
    for k in range(ROTATIONS):
        scores = in_chunks(module, turned(x, torch.full((len(x),), k)), 500)
        right.append((scores.argmax(1) == ROTATIONS * y + k).float().mean())
        if k == 0:
            upright = (scores[:, ::ROTATIONS].argmax(1) == y).float().mean()
    return {"vehicle and turn": round(float(torch.stack(right).mean()), 4), "vehicle, upright": round(float(upright), 4)}


def report(recipe: str, module: Network) -> dict[str, float]:
    """What the card of a backbone reports. Nothing of the streams' classes is looked at."""
    return vehicles_report(module) if recipe == "res8c" else drawings_report(module, omniglot_part("validation"))
