"""General-Purpose In-Context Learning by Meta-Learning Transformers (Kirsch et al., 2022), replicated.

What is run: Transformers, LSTMs and an MLP are meta-trained on K tasks, each a random projection and label permutation of one set of images, and tested on
tasks seen and unseen, made of unseen images and of other data sets; and how long the first plateau of the loss lasts, over batch sizes and bias q.
Hardware: one CPU thread per condition; a few minutes on two cores for the cpu profile.
The number to reach: with very many tasks, accuracy on unseen tasks rises within the sequence by more than 0.2.

    python -m papers.general_purpose_icl.replicate --profile cpu
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence as Listing
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Interval
from jaxtyping import Array, PRNGKeyArray

from papers.general_purpose_icl.baselines import BASELINES, accuracy
from papers.general_purpose_icl.data import CLASSES, IMAGES, LATER, REPEATED, UNSEEN, classes, meta_training_set, unseen_set
from papers.general_purpose_icl.model import (
    UNLIMITED,
    Base,
    Run,
    Sequence,
    Shape,
    accuracy_by_position,
    draw_batch,
    init_state,
    parameter_count,
    predict,
    probing,
    state_size,
    training_step,
)
from shared.engine import main
from shared.engine.errors import RequestError
from shared.optim.many import train_many
from shared.seeds import jax_keys, numpy_rng

Count = Annotated[int, Ge(1)]
Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True)
class Config:
    images: str = "digits"
    """Set of images that tasks are made from: digits, mnist, usps, fashion_mnist or cifar10. Paper: MNIST."""
    elsewhere: tuple[str, ...] = ("digits, later classes", "wine", "breast_cancer", "usps", "mnist", "fashion_mnist")
    """Data sets that the learner never sees in meta-training. Paper: Fashion-MNIST, KMNIST, CIFAR-10, SVHN."""
    C: Annotated[int, Ge(2)] = 5
    """Classes: the first C of each data set. Paper: 10."""
    T: Annotated[int, Ge(2)] = 20
    """Examples in a sequence, the query included. Paper: 100."""
    d: Count = 16
    """Dimensions after the projection. Paper: as many as pixels."""
    layers: Count = 2
    """Layers of the Transformer. Paper: not confirmed; replications 4."""
    head_width: Count = 16
    """Width of an attention head; the Transformer has width / head_width of them, at least one."""
    width: Count = 64
    """Width of the Transformer where it is not varied. Replications: 256."""
    widths: tuple[Count, ...] = (64,)
    """E1: widths that the numbers of tasks are crossed with."""
    tasks: tuple[Count, ...] = (4, 64, UNLIMITED)
    """E1: numbers of tasks K; 2147483647 stands for no limit. Paper: 1 to 2^25."""
    bias: Share = 0.9
    """q of the K sweep and of E3: share of tasks with the fixed permutation. Replications: 0.9 where the permutations are biased."""
    state_tasks: Count = UNLIMITED
    """E3: number of tasks K. Paper: 2^16 or more."""
    state_transformers: tuple[Count, ...] = ()
    """E3: widths of Transformers."""
    state_lstms: tuple[Count, ...] = ()
    """E3: widths of LSTMs of one layer; an MLP is trained beside them."""
    biases: tuple[Share, ...] = (0.0, 0.9)
    """E4: q, with K without limit."""
    batches: tuple[Count, ...] = ()
    """E4: sequences in a batch, at q = 0. Paper: up to 2048."""
    batch: Count = 32
    """Sequences in a batch where it is not varied. Replications: 128 to 512."""
    steps: Count = 1300
    """Steps of meta-training. Replications: 50 000 to 100 000."""
    lr: Annotated[float, Gt(0)] = 3e-3
    """Step size of Adam for the Transformers. Replications: 2e-4 to 1e-3."""
    lstm_lr: Annotated[float, Gt(0)] = 3e-3
    """Step size of Adam for the LSTMs and the MLP."""
    every: Count = 50
    """Steps between measurements of the loss on the probe."""
    probe: Count = 128
    """Sequences of the probe: fresh tasks with random permutations, training images."""
    tests: Count = 1024
    """Sequences of each test."""
    per_class: Count = 80
    """Examples of each class that are taken of a data set never seen, at most."""


def conditions(config: Config) -> list[dict]:
    check(config)

    def learner(kind: str, width: int, K: int, q: float, batch: int = config.batch) -> dict:
        return {"learner": kind, "width": width, "K": K, "q": q, "batch": batch}

    grid = [learner("transformer", width, K, config.bias) for width in config.widths for K in config.tasks]
    grid += [learner("transformer", width, config.state_tasks, config.bias) for width in config.state_transformers]
    grid += [learner("lstm", width, config.state_tasks, config.bias) for width in config.state_lstms]
    grid += [learner("mlp", width, config.state_tasks, config.bias) for width in config.state_lstms[:1]]
    grid += [learner("transformer", config.width, UNLIMITED, q) for q in config.biases]
    grid += [learner("transformer", config.width, UNLIMITED, 0.0, batch) for batch in config.batches]
    grid = list({tuple(condition.items()): condition for condition in grid}.values())  # experiments share runs
    return grid + [{"learner": name} for name in BASELINES]


def check(config: Config) -> None:
    """RequestError for data sets that are not there, or have too few classes."""
    if config.images not in IMAGES:
        raise RequestError(f"--config.images is one of {', '.join(IMAGES)}, not {config.images}")
    if unknown := sorted(set(config.elsewhere) - set(UNSEEN)):
        raise RequestError(f"--config.elsewhere knows {', '.join(UNSEEN)}, not {', '.join(unknown)}")
    most = CLASSES // 2 if LATER in config.elsewhere else CLASSES
    if config.C not in range(2, most + 1):
        raise RequestError(f"--config.C is at most {most} ({CLASSES} classes a set of images, half of them for {LATER!r}), not {config.C}")
    if wrong := [width for width in (config.width, *config.widths, *config.state_transformers) if width > config.head_width and width % config.head_width]:
        raise RequestError(f"--config.head_width: {config.head_width} does not divide the width {wrong[0]}")


def run(config: Config, condition: dict, seeds: Listing[int], device: str) -> list[dict]:
    with jax.default_device(jax.devices({"cpu": "cpu", "cuda": "gpu"}[device])[0]):
        experiment = run_baseline if condition["learner"] in BASELINES else run_learner
        metrics = {name: np.asarray(values) for name, values in experiment(config, condition, tuple(seeds)).items()}
    return [{name: values[i] for name, values in metrics.items()} for i in range(len(seeds))]


# ---- sequences for all seeds at once ----


@functools.partial(jax.jit, static_argnums=(5, 6))
def draw(
    keys: PRNGKeyArray, task_keys: PRNGKeyArray, K: int, q: float, base: Base, size: tuple[int, int, int, int], distinct: bool
) -> Sequence:  # leaves (seeds, batch, T, ...)
    return jax.vmap(lambda key, task_key: draw_batch(key, task_key, K, q, base, size, distinct))(keys, task_keys)


def size_of(config: Config, batch: int) -> tuple[int, int, int, int]:
    return batch, config.T, config.d, config.C


@functools.cache
def unseen_sequences(config: Config, where: str, seeds: tuple[int, ...]) -> Sequence:
    """Tasks that no run was trained on, permutations at random (q = 0), made of data that none was trained on."""
    if where == "unseen":
        base = meta_training_set(config.images, config.C)[1]
    else:
        base = unseen_set(where, config.C, config.per_class, numpy_rng(0, where))
    keys, tasks = jax_keys(seeds, f"test {where}"), jax_keys(seeds, "unseen tasks")
    return draw(keys, tasks, UNLIMITED, 0.0, base, size_of(config, config.tests), where != REPEATED)


def others(config: Config) -> tuple[str, ...]:
    return (*config.elsewhere, REPEATED)


# ---- learners that are meta-trained ----


def shape_of(config: Config, condition: dict) -> Shape:
    kind, width = condition["learner"], condition["width"]
    layers = config.layers if kind == "transformer" else 1
    return Shape(kind, width, layers, max(1, width // config.head_width), config.T, config.d, config.C)


@functools.partial(jax.jit, static_argnums=0)
def test(shape: Shape, params: dict, sequences: Sequence) -> Array:
    """Accuracy by position, (seeds, T)."""
    return jax.vmap(lambda params, sequence: accuracy_by_position(predict(params, shape, sequence), sequence.y))(params, sequences)


def run_learner(config: Config, condition: dict, seeds: tuple[int, ...]) -> dict:
    """One learner meta-trained from every seed, and all that it is tested on."""
    shape, batch, n = shape_of(config, condition), condition["batch"], len(seeds)
    train, images_unseen = meta_training_set(config.images, config.C)
    tasks = jax_keys(seeds, "tasks")
    run = Run(
        key=jax_keys(seeds, "examples"),
        task_key=tasks,
        base=Base(*(np.stack([part] * n) for part in train)),
        K=np.full(n, condition["K"], np.int32),
        q=np.full(n, condition["q"], np.float32),
        lr=np.full(n, config.lr if shape.kind == "transformer" else config.lstm_lr, np.float32),
        probe=draw(jax_keys(seeds, "probe"), jax_keys(seeds, "probe tasks"), UNLIMITED, 0.0, train, size_of(config, config.probe), False),
    )
    first = jax.jit(jax.vmap(lambda key: init_state(key, shape)))(jax_keys(seeds, "init"))
    schedule = np.append(np.arange(0, config.steps, config.every), config.steps)
    last, curves = train_many(training_step(shape, batch), probing(shape), schedule, first, run)

    def seen_sequences(base: Base) -> Sequence:
        return draw(jax_keys(seeds, "test seen"), tasks, condition["K"], condition["q"], base, size_of(config, config.tests), True)

    unseen = unseen_sequences(config, "unseen", seeds)
    by_position = {
        "seen": test(shape, last.params, seen_sequences(images_unseen)),
        "seen_images": test(shape, last.params, seen_sequences(train)),
        "unseen": test(shape, last.params, unseen),
        "renamed": test(shape, last.params, unseen._replace(y=(unseen.y + 1) % config.C)),
    }
    loss = np.asarray(curves["loss"])
    metrics = {
        "state": np.full(n, state_size(shape)),
        "parameters": np.full(n, parameter_count(last.params) // n),
        "plateau": plateau_length(loss, schedule, config.C),
        "steps": np.tile(schedule.astype(np.float32), (n, 1)),
        "curve_loss": loss,
        "curve_last": curves["last"],
    }
    for name, accuracies in by_position.items():
        metrics |= {f"{name}_by_position": accuracies, f"{name}_first": accuracies[:, 0], f"{name}_last": accuracies[:, -1]}
    for where in others(config):
        sequences = unseen_sequences(config, where, seeds)
        metrics |= {f"on {where}": test(shape, last.params, sequences)[:, -1], f"chance on {where}": np.full(n, 1 / classes(where, config.C))}
    return metrics


def plateau_length(loss: np.ndarray, schedule: np.ndarray, C: int) -> np.ndarray:
    """First step at which the loss on the probe, (seeds, points), is below 0.9 log C; the length of the run where it never is."""
    below = loss < 0.9 * math.log(C)
    return np.where(below.any(axis=1), schedule[below.argmax(axis=1)], schedule[-1])


# ---- baselines ----


def run_baseline(config: Config, condition: dict, seeds: tuple[int, ...]) -> dict:
    """A classical learner on the same test sequences, with the strength that is best on fresh tasks of the training images."""
    method = condition["learner"]
    score = jax.jit(jax.vmap(functools.partial(accuracy, method, C=config.C)))
    train, _ = meta_training_set(config.images, config.C)
    validation = draw(jax_keys(seeds, "validation"), jax_keys(seeds, "validation tasks"), UNLIMITED, 0.0, train, size_of(config, config.tests), True)
    strengths = jnp.asarray(BASELINES[method][1])
    scores = jnp.stack([score(jnp.full(len(seeds), strength), validation) for strength in strengths], axis=1)  # (seeds, strengths)
    best = strengths[scores.argmax(axis=1)]
    metrics = {f"on {where}": score(best, unseen_sequences(config, where, seeds)) for where in others(config)}
    return metrics | {"unseen_last": score(best, unseen_sequences(config, "unseen", seeds)), "strength": best}


if __name__ == "__main__":
    main(__file__)
