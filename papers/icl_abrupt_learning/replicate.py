"""The mechanistic basis of data dependence and abrupt learning in an in-context classification task (Reddy, ICLR 2024), replicated.

What is run: the paper's two-layer attention-only network, trained by plain SGD on item-label sequences: its course at one setting (with what its attention
does), at several numbers of classes, burstiness, noises and Zipf exponents; baselines that can only learn in weights or only in context; the induction
head with three parameters; gradient descent on the three nested logits.
Hardware: one CPU thread per condition; a few minutes on two cores for the cpu profile.
The number to reach: a rise of in-context accuracy that takes less than half as long as the plateau before it.

    python -m papers.icl_abrupt_learning.replicate --profile cpu
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from papers.icl_abrupt_learning.model import (
    Data,
    Params,
    ReadOut,
    Setting,
    TestSets,
    accuracy,
    cross_entropy,
    draw_tests,
    draw_world,
    init_params,
    init_read_out,
    measure,
    network,
    read,
    sgd,
    training_sequences,
    training_step,
)
from papers.icl_abrupt_learning.reduced import (
    Sizes,
    descent_measure,
    descent_step,
    induction_head_measure,
    induction_head_step,
    init_induction_head,
    start_descent,
)
from shared.engine import main
from shared.optim.many import stack_runs, train_many
from shared.seeds import jax_keys, numpy_rng

LAST = 3
"""Last evaluations that a final accuracy is the mean of."""
SHOWN = 10
"""Starts of the nested logits whose loss is kept over the whole descent."""


@dataclass(frozen=True)
class Config:
    N: int = 8
    """Item-label pairs in a context. Paper: 8."""
    L: int = 32
    """Labels. Paper: 32."""
    D: int = 31
    """Dimensions of items and labels. Paper: 63."""
    span: int = 33
    """Entries of the one-hot position; tokens have span + D entries. Paper: 65."""
    eps: float = 0.1
    """Within-class noise where it is not varied. Paper: 0.1."""
    lr: float = 0.1
    """Step size of SGD. Paper: 0.01."""
    decay: float = 1e-6
    """Weights shrink by this factor of themselves at each step. Official code: 1e-6."""
    batch: int = 64
    """Sequences in a batch. Paper: 128."""
    tests: int = 400
    """Sequences of each test set. Paper: 10 000."""
    points: int = 50
    """Evaluations on the way, evenly spaced, beside that before training."""

    abrupt_K: int = 512
    """E1: classes. Paper: 512."""
    abrupt_B: int = 2
    """E1: burstiness. Paper: 2."""
    abrupt_steps: int = 5500
    """E1: training steps. Paper: 150 000."""

    grid_K: tuple[int, ...] = (32, 1024)
    """E2: classes. Paper: 128 to 2048."""
    grid_B: tuple[int, ...] = (1, 2)
    """E2: burstiness; 0 draws context and target independently. Paper: 0, 1, 2, 4."""
    noises: tuple[float, ...] = (1.0,)
    """E3: within-class noises eps, beside that of the grid. Paper: 0.1 to 1."""
    noise_K: int = 1024
    """E3: classes of the sweep over noises. Paper: 1024."""
    alphas: tuple[float, ...] = (1.0,)
    """E3: Zipf exponents, beside that of the grid, 0. Paper: 0 to 1.75."""
    alpha_K: int = 1024
    """E3: classes of the sweep over exponents. Paper: 1024."""
    noise_B: int = 1
    """E3: burstiness of the sweep over noises. Paper: 1."""
    alpha_B: int = 2
    """E3: burstiness of the sweep over exponents. Paper: 1."""
    fresh: tuple[float, ...] = (1.0,)
    """Baseline that can learn in context only, at E1's K and B: shares p_C of sequences of fresh classes."""
    steps: int = 3000
    """E2, E3 and baselines: training steps. Paper: 150 000."""

    head_D: int = 63
    """E4: dimensions of items and labels. Paper: 63."""
    head_N: int = 8
    """E4: pairs in a context. Paper: 8."""
    head_L: int = 32
    """E4: labels. Paper: 32."""
    head_K: int = 512
    """E4: classes. Paper: 512."""
    head_width: int = 128
    """E4: width of the read-out. Paper: 128."""
    head_batch: int = 32
    """E4: sequences in a batch. Paper: 128."""
    head_lr: float = 0.03
    """E4: step size. Paper: 0.01."""
    head_steps: int = 6000
    """E4: training steps."""

    nested_N: int = 8
    """E5: pairs in a context."""
    nested_L: tuple[int, ...] = (8, 9, 16, 32)
    """E5: labels; the first is N, where every label is in every context."""
    nested_starts: int = 50
    """E5: random starts for each seed."""
    nested_steps: int = 40_000
    """E5: steps of gradient descent."""
    nested_points: int = 200
    """E5: evaluations on the way."""


def conditions(config: Config) -> list[dict]:
    def trained(experiment: str, K: int, B: int, eps: float = config.eps, alpha: float = 0.0, p_C: float = 0.0) -> dict:
        return {"experiment": experiment, "K": K, "B": B, "eps": eps, "alpha": alpha, "p_C": p_C}

    grid = [trained("abrupt", config.abrupt_K, config.abrupt_B)]
    grid += [trained("grid", K, B) for K in config.grid_K for B in config.grid_B]
    grid += [trained("noise", config.noise_K, config.noise_B, eps=eps) for eps in config.noises]
    grid += [trained("zipf", config.alpha_K, config.alpha_B, alpha=alpha) for alpha in config.alphas]
    grid += [trained("only in context", config.abrupt_K, config.abrupt_B, p_C=p_C) for p_C in config.fresh]
    grid += [trained("only in weights", K, config.abrupt_B) for K in config.grid_K]
    grid += [{"experiment": "induction head", "stage": stage} for stage in (True, False)]
    grid += [{"experiment": "nested logits", "L": L} for L in config.nested_L]
    return grid


def run(config: Config, condition: dict, seeds: Sequence[int], device: str) -> list[dict]:
    experiments = {"only in weights": run_target_only, "induction head": run_induction_head, "nested logits": run_nested_logits}
    with jax.default_device(jax.devices({"cpu": "cpu", "cuda": "gpu"}[device])[0]):
        metrics = experiments.get(condition["experiment"], run_network)(config, condition, seeds)
        metrics = {name: np.asarray(values) for name, values in metrics.items()}
    return [{name: values[i] for name, values in metrics.items()} for i in range(len(seeds))]


def setting_of(config: Config, condition: dict) -> Setting:
    return Setting(config.N, condition["B"], condition["eps"], condition["p_C"], config.span, config.batch)


def prepare(setting: Setting, K: int, L: int, D: int, alpha: float, lr: float, tests: int, seeds: Sequence[int]) -> Data:
    """For each seed its world, its stream of batches and its test sets; leaves (seeds, ...). Conditions that differ in other things share them."""
    world = stack_runs([draw_world(numpy_rng(seed, "world"), K, L, D, alpha) for seed in seeds])
    drawn = draw_all_tests(jax_keys(seeds, "tests"), world, setting._replace(batch=tests))
    return Data(world, jax_keys(seeds, "batches"), drawn, np.full(len(seeds), lr, np.float32))


# Runs once per condition: an unoptimised program, since compiling it would take longer than anything else here.
draw_all_tests = jax.jit(jax.vmap(draw_tests, in_axes=(0, 0, None)), static_argnums=2, compiler_options={"xla_backend_optimization_level": 0})


def evenly(steps: int, points: int) -> np.ndarray:
    """0 and ``points`` further steps up to ``steps``."""
    return np.unique(np.linspace(0, steps, points + 1).round().astype(int))


def curves_of(curves: dict, schedule: np.ndarray) -> dict:
    """Curves (seeds, points) under their names in a row, and the steps that they were measured at."""
    runs = len(next(iter(curves.values())))
    named = {f"curve_{name}": np.asarray(curve, dtype=np.float32) for name, curve in curves.items()}
    return {"steps": np.tile(schedule.astype(np.float32), (runs, 1))} | named


def finals_of(curves: dict, *names: str) -> dict:
    return {f"final_{name}": np.asarray(curves[name])[:, -LAST:].mean(axis=1) for name in names}


def run_network(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E1, E2, E3 and training on fresh classes only. The network of the paper at one setting of the data."""
    setting, abrupt = setting_of(config, condition), condition["experiment"] == "abrupt"
    data = prepare(setting, condition["K"], config.L, config.D, condition["alpha"], config.lr, config.tests, seeds)
    first = stack_runs([init_params(numpy_rng(seed, "init"), config.D, config.span, config.L) for seed in seeds])
    schedule = evenly(config.abrupt_steps if abrupt else config.steps, config.points)
    last, curves = train_many(training_step(setting, config.decay), measure, schedule, first, data)
    metrics = curves_of(curves, schedule) | finals_of(curves, "overall", "ic", "ic2", "iw")
    if abrupt:
        metrics |= {f"{name}_before": map_ for name, map_ in attention_maps(first, data.tests).items()}
        metrics |= {f"{name}_after": map_ for name, map_ in attention_maps(last, data.tests).items()}
        metrics |= {"shown_context": data.tests.ic.context[:, 0], "shown_answer": data.tests.ic.y[:, 0], "pairs": np.full(len(seeds), config.N)}
    return metrics


@jax.jit
@jax.vmap
def attention_maps(params: Params, tests: TestSets) -> dict:
    """What both layers attend to in the first test sequence of novel classes, each (T, T)."""
    x = tests.ic.x[:1]
    _, p1, p2 = network(params, x, rows=x.shape[1])
    return {"attention_1": p1[0], "attention_2": p2[0]}


def run_target_only(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """Baseline: the read-out alone, on the target without its context. All that it can learn is in its weights."""
    setting, D = setting_of(config, condition), config.D
    one_pair = setting._replace(N=1, B=1)  # the shortest sequence that has a target of the same distribution

    def target(sequences):
        return sequences.x[:, -1, config.span :]

    def loss(read_out: ReadOut, sequences):
        return cross_entropy(read(read_out, target(sequences)), sequences.y)

    def step(read_out: ReadOut, t, data: Data) -> ReadOut:
        sequences = training_sequences(jax.random.fold_in(data.key, t), data.world, one_pair)
        return sgd(read_out, jax.grad(loss)(read_out, sequences), data.lr, config.decay)

    def measure_target_only(read_out: ReadOut, data: Data) -> dict:
        iw, ic = data.tests.iw, data.tests.ic
        return {"loss": loss(read_out, iw), "iw": accuracy(read(read_out, target(iw)), iw.y), "ic": accuracy(read(read_out, target(ic)), ic.y)}

    data = prepare(setting, condition["K"], config.L, D, condition["alpha"], config.lr, config.tests, seeds)
    first = stack_runs([init_read_out(numpy_rng(seed, "init"), D, config.span + D, config.L) for seed in seeds])
    schedule = evenly(config.steps, config.points)
    _, curves = train_many(step, measure_target_only, schedule, first, data)
    return curves_of(curves, schedule) | finals_of(curves, "iw", "ic")


def run_induction_head(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E4. The induction head with three parameters, with alpha learnt or held at 0."""
    N, D, L = config.head_N, config.head_D, config.head_L
    setting = Setting(N, 1, config.eps, 0.0, 2 * N + 1, config.head_batch)
    data = prepare(setting, config.head_K, L, D, 0.0, config.head_lr, config.tests, seeds)
    first = stack_runs([init_induction_head(numpy_rng(seed, "init"), D, config.head_width, L) for seed in seeds])
    schedule = evenly(config.head_steps, config.points)
    step = induction_head_step(setting, config.decay, condition["stage"])
    _, curves = train_many(step, induction_head_measure(setting), schedule, first, data)
    return curves_of(curves, schedule) | finals_of(curves, "ic")


def run_nested_logits(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E5. Gradient descent on the nested logits, from the same random starts whatever L is."""
    starts = config.nested_starts
    keys = jax.vmap(lambda key: jax.random.split(key, starts))(jax_keys(seeds, "logits")).reshape(-1)
    N, L = (np.full(len(keys), size, np.float32) for size in (config.nested_N, condition["L"]))
    schedule = evenly(config.nested_steps, config.nested_points)
    last, curves = train_many(descent_step, descent_measure, schedule, jax.vmap(start_descent)(keys), Sizes(N, L))
    learnt = np.asarray(last.learnt_after).reshape(len(seeds), starts)
    logits = np.stack(last.logits, axis=-1).reshape(len(seeds), starts, 3)
    return {
        "learnt": (learnt >= 0).mean(axis=1),
        "learnt_after": np.where(learnt < 0, config.nested_steps, learnt),  # capped where it never is
        "wrong_sign": ((logits[..., 1] < 0) & (logits[..., 2] < 0)).mean(axis=1),
        "steps": np.tile(schedule.astype(np.float32), (len(seeds), 1)),
        "curve_loss": np.asarray(curves["loss"]).reshape(len(seeds), starts, -1)[:, :SHOWN],
    }


if __name__ == "__main__":
    main(__file__)
