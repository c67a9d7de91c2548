"""Understanding In-Context Learning in Transformers and LLMs by Learning to Learn Discrete Functions (Bhattamishra et al., 2023), replicated.

What is run: Transformers and LSTMs trained from scratch on prompts of random Boolean functions (conjunctions, 3-term DNFs, parities, ...), on prompts half of
which begin with a teaching sequence, and on the nearest-neighbour task; simple predictors and the optimal conjunction learner on the same test prompts.
Hardware: one CPU thread per condition; a few minutes on two cores for the cpu profile.
The number to reach: less than 0.05 below the optimal learner on conjunctions, at the last ten positions.

    python -m papers.icl_discrete_functions.replicate --profile cpu
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from papers.icl_discrete_functions.model import Course, Data, Network, accuracies, init_states, measurement, neighbour_attention, training_step
from papers.icl_discrete_functions.predictors import accuracy, averaging, consistent_conjunction, fitted_network, nearest_neighbours, null_accuracy
from papers.icl_discrete_functions.tasks import TAUGHT, Prompts, Task, draw_prompts, draw_taught
from shared.engine import main
from shared.optim.many import train_many
from shared.seeds import jax_keys

LAST = 10
"""Last positions that an accuracy "at the end" is the mean of."""


@dataclass(frozen=True)
class Config:
    tasks: tuple[str, ...] = ("conjunction", "dnf", "parity", "teaching_conjunction", "nearest_neighbour")
    """Classes of functions, see tasks.py. Paper: all of them."""
    bits: tuple[int, ...] = (8, 8, 10, 8, 8)
    """n of each task. Paper: 28 (parities 10, integer halfspaces 20, sparse disjunctions 50)."""
    points: tuple[int, ...] = (20, 20, 20, 20, 20)
    """m of each task. Paper: 70 to 140."""
    clause_literals: float = 0.5
    """Probability that a clause of a DNF or CNF has a given variable. Paper: 0.2, at 28 bits; at 8 bits that makes half of the formulas constant."""
    start: int = 8
    """Nearest neighbour: points with random labels. Paper: 20 to 40 (from memory)."""

    lstm_tasks: tuple[str, ...] = ("conjunction", "dnf", "nearest_neighbour")
    """Tasks that the LSTM is trained on. Paper: all."""
    retnet_tasks: tuple[str, ...] = ()
    """Tasks that RetNet is trained on. Paper: all."""
    frozen_tasks: tuple[str, ...] = ()
    """Tasks that a frozen random Transformer is trained around."""

    layers: int = 2
    """Layers of every network. Paper: 12 (README of the official code)."""
    width: int = 48
    """Width of every network. Paper: 256."""
    heads: int = 2
    """Attention heads. Paper: 8."""
    precision: str = "float32"
    """Type that the networks compute in; their parameters are float32."""

    steps: int = 1600
    """Training steps. Paper: 15 000 to 30 000."""
    batch: int = 16
    """Fresh prompts in a step. Paper: 64."""
    lr: float = 3e-3
    """Largest step size of Adam for Transformers. Paper: swept, 1e-4 in the README of the official code."""
    lstm_lr: float = 8e-3
    """Largest step size of Adam for the LSTM. Paper: swept."""
    warm_up: int = 40
    """Steps in which the step size grows from 0. Paper: none."""
    final: float = 0.0
    """Step size at the end as a share of the largest. Paper: 1."""

    tests: int = 768
    """Test prompts."""
    evaluations: int = 4
    """Measurements during training, evenly spaced."""
    shown: int = 256
    """Prompts that attention to the nearest neighbour is averaged over."""
    fitted_prompts: int = 64
    """Prompts that a feed-forward network is fitted to."""
    fitted_width: int = 32
    """Width of its two hidden layers."""
    fitted_steps: int = 100
    """Steps of Adam for each of its fits."""
    fitted_lr: float = 1e-2
    """Their step size."""
    fitted_sizes: int = 4
    """Prefixes of a prompt that it is fitted to, evenly spaced up to all points but one."""


def conditions(config: Config) -> list[dict]:
    grid = [{"task": task, "learner": "transformer"} for task in config.tasks]
    grid += [{"task": task, "learner": "lstm"} for task in config.lstm_tasks]
    grid += [{"task": task, "learner": "retnet"} for task in config.retnet_tasks]
    grid += [{"task": task, "learner": "frozen"} for task in config.frozen_tasks]
    return grid + [{"task": task, "learner": "predictors"} for task in config.tasks]


def run(config: Config, condition: dict, seeds: Sequence[int], device: str) -> list[dict]:
    task = task_of(config, condition["task"])
    with jax.default_device(jax.devices({"cpu": "cpu", "cuda": "gpu"}[device])[0]):
        metrics = run_predictors(config, task, seeds) if condition["learner"] == "predictors" else run_network(config, task, condition["learner"], seeds)
        metrics = {name: np.asarray(values, dtype=np.float32) for name, values in metrics.items()}
    return [{name: values[i] for name, values in metrics.items()} for i in range(len(seeds))]


def task_of(config: Config, name: str) -> Task:
    sizes = {task: (n, m) for task, n, m in zip(config.tasks, config.bits, config.points, strict=True)}
    n, m = sizes[name]
    literals = config.clause_literals if name in ("dnf", "cnf", "teaching_dnf") else 0.0
    return Task(name, n, m, literals, config.start if name == "nearest_neighbour" else 0)


@functools.partial(jax.jit, static_argnums=(1, 2))
@functools.partial(jax.vmap, in_axes=(0, None, None))
def draw_tests(key: PRNGKeyArray, task: Task, B: int) -> Prompts:
    """Prompts that no network has seen, the same for all learners of a seed. Of a teaching task, half of them taught and half their vanilla twins."""
    if task.name not in TAUGHT:
        return draw_prompts(key, task, B)
    taught, vanilla = (draw_taught(key, task, jnp.full(B // 2, kind)) for kind in (True, False))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), taught, vanilla)


def run_network(config: Config, task: Task, backbone: str, seeds: Sequence[int]) -> dict:
    """E1 to E5. One network for each seed, all trained in one program."""
    net = Network(backbone, config.layers, config.width, config.heads, config.precision)
    course = Course(config.steps, config.batch, config.warm_up, config.final)
    state = init_states(jax_keys(seeds, "init"), net, task)
    lr = config.lstm_lr if backbone == "lstm" else config.lr
    data = Data(jax_keys(seeds, "training"), draw_tests(jax_keys(seeds, "tests"), task, config.tests), jnp.full(len(seeds), lr))
    schedule = np.unique(np.linspace(0, config.steps, config.evaluations + 1).round().astype(int))[1:]
    state, found = train_many(training_step(net, task, course), measurement(net, task), schedule, state, data)
    metrics = {"steps": np.tile(schedule, (len(seeds), 1))} | ends(task, {name: curves[:, -1] for name, curves in found.items()})
    learning = found["taught" if task.name in TAUGHT else "accuracy"]
    metrics["learning"] = learning[:, :, -LAST:].mean(-1)  # (seeds, evaluations)
    if (task.name, backbone) == ("nearest_neighbour", "transformer"):
        prompts = jax.tree.map(lambda a: a[:, : config.shown], data.tests)
        metrics["attention"] = jax.jit(jax.vmap(lambda params, prompts: neighbour_attention(params, net, task, prompts)))(state.params, prompts)
    return metrics


def ends(task: Task, curves: dict) -> dict:
    """Accuracies at each position, (seeds, m), and what claims are made of: the mean over the last positions and over those that count."""
    if task.name in TAUGHT:
        return curves
    accuracy = curves["accuracy"]
    return {"accuracy": accuracy, "last": accuracy[:, -LAST:].mean(1), "counted": accuracy[:, task.start :].mean(1)}


def run_predictors(config: Config, task: Task, seeds: Sequence[int]) -> dict:
    """The simple predictors and, for conjunctions, the optimal learner, on the test prompts of the networks."""
    tests = draw_tests(jax_keys(seeds, "tests"), task, config.tests)
    predictors = {"averaging": averaging, "nearest": functools.partial(nearest_neighbours, k=1), "three_nearest": functools.partial(nearest_neighbours, k=3)}
    if task.name in ("conjunction", "teaching_conjunction"):
        predictors["optimal"] = functools.partial(consistent_conjunction, monotone=task.name in TAUGHT)

    @jax.jit
    @jax.vmap
    def all_at_once(tests: Prompts) -> dict:
        found = {"null": {} if task.name in TAUGHT else {"accuracy": null_accuracy(tests.y)}}
        return found | {name: accuracies(predict(tests.x, tests.y), task, tests) for name, predict in predictors.items()}

    metrics = {f"{name}_{metric}": values for name, curves in all_at_once(tests).items() if curves for metric, values in ends(task, curves).items()}
    if task.name in TAUGHT:
        return metrics
    sizes = np.unique(np.linspace(0, task.m - 1, config.fitted_sizes + 1).round().astype(int))[1:]
    fit = jax.jit(jax.vmap(fitted_network, in_axes=(0, 0, 0, None, None, None, None)), static_argnums=(4, 5))
    few = jax.tree.map(lambda a: a[:, : config.fitted_prompts], tests)
    scores = [fit(jax_keys(seeds, "fits"), few.x, few.y, int(k), config.fitted_width, config.fitted_steps, config.fitted_lr) for k in sizes]
    right = [jax.vmap(accuracy)(score[..., None], few.y[..., k, None])[:, 0] for score, k in zip(scores, sizes, strict=True)]
    return metrics | {"fitted_sizes": np.tile(sizes, (len(seeds), 1)), "fitted_accuracy": np.stack(right, axis=1)}


if __name__ == "__main__":
    main(__file__)
