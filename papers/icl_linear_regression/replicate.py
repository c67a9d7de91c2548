"""In-Context Linear Regression Demystified (He, Pan, Chen and Yang, ICML 2025), replicated.

What is run: one layer of H-head attention, softmax or linear, trained from random weights on in-context linear regression; its weight patterns on the
way, its error on prompts of 10 to 100 examples beside gradient descent, debiased gradient descent, the kernel smoother and ridge; the theory's gradient
flow; correlated covariates; two tasks at once.
Hardware: one CPU thread per condition; about four minutes on two cores for the cpu profile.
The number to reach: test error at L = 40 of about 0.405 with one head and 0.243 with two or more.

    python -m papers.icl_linear_regression.replicate --profile cpu
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from papers.icl_linear_regression import theory
from papers.icl_linear_regression.model import (
    Params,
    Setting,
    draw_prompts,
    effective_preconditioner,
    gd_prefixes,
    in_learnt_form,
    init_params,
    is_active,
    key_query,
    loss,
    output_value,
    pattern,
    predict_prefixes,
    ridge_prefixes,
    single_task,
    two_tasks,
)
from shared.engine import main
from shared.optim.many import train_many
from shared.seeds import jax_keys, numpy_rng

CHUNK = 2500
"""Test prompts that are in memory at once, per seed."""


@dataclass(frozen=True)
class Config:
    d: int = 5
    """Covariates. Paper: 5."""
    L: int = 40
    """Examples in a training prompt. Paper: 8 d."""
    s2: float = 0.1
    """Variance of the label noise. Paper: 0.1."""
    heads: tuple[int, ...] = (1, 2, 4, 8)
    """Heads H of the softmax layers. Paper: 1, 2, 4, 8."""
    linear_heads: tuple[int, ...] = (2,)
    """Heads of the linear layers."""

    steps: int = 20_000
    """Training steps, each on a fresh batch. Paper: 500 001."""
    batch: int = 64
    """Prompts in a batch. Paper: 256."""
    lr: float = 1e-2
    """Step size of Adam at the start. Paper: 1e-3 throughout."""
    lr_end: float = 3e-4
    """Step size at the end of a cosine decay. Paper: 1e-3."""
    curve_points: int = 40
    """Evaluations on the way, evenly spaced in log(step)."""

    test_prompts: int = 50_000
    """Fresh prompts for every test error."""
    test_lengths: tuple[int, ...] = tuple(range(10, 101, 5))
    """Prompt lengths tested; L must be among them."""

    flow_heads: tuple[int, ...] = (1, 2, 4)
    """Heads of the theory's gradient flow."""
    flow_starts: int = 4
    """Random starting points of the flow per seed."""
    flow_time: float = 200.0
    """Length of the flow."""
    flow_dt: float = 0.01
    """Its Runge-Kutta step."""

    rhos: tuple[float, ...] = (0.5,)
    """Correlated covariates: Sigma_ij = rho^|i-j|, two heads."""

    task_heads: tuple[int, ...] = (3, 5)
    """Heads for two tasks at once."""
    task_covariates: tuple[int, int, int] = (5, 3, 4)
    """d, and how many first and last covariates tasks 1 and 2 read."""
    task_s2: float = 1e-4
    """Noise variance of a task is this times its number of covariates."""


def conditions(config: Config) -> list[dict]:
    grid = [{"experiment": "isotropic", "attention": "softmax", "H": H} for H in config.heads]
    grid += [{"experiment": "isotropic", "attention": "linear", "H": H} for H in config.linear_heads]
    grid += [{"experiment": "predictors"}]
    grid += [{"experiment": "flow", "H": H} for H in config.flow_heads]
    grid += [{"experiment": "correlated", "attention": "softmax", "H": 2, "rho": rho} for rho in config.rhos]
    grid += [{"experiment": "tasks", "attention": "softmax", "H": H} for H in config.task_heads]
    return grid


def run(config: Config, condition: dict, seeds: Sequence[int], device: str) -> list[dict]:
    experiments = {"isotropic": run_one_task, "correlated": run_one_task, "predictors": run_predictors, "flow": run_flow, "tasks": run_two_tasks}
    with jax.default_device(jax.devices({"cpu": "cpu", "cuda": "gpu"}[device])[0]):
        metrics = experiments[condition["experiment"]](config, condition, seeds)
        metrics = {name: np.asarray(values) for name, values in metrics.items()}
    return [{name: values[i] for name, values in metrics.items()} for i in range(len(seeds))]


# ---- training ----


class State(NamedTuple):
    params: Params
    adam: optax.OptState


@functools.cache
def adam(lr: float, lr_end: float, steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(lr, steps, alpha=lr_end / lr))


@functools.cache
def training_step(setting: Setting, attention: str, L: int, batch: int, optimiser: optax.GradientTransformation):
    """``step(state, t, key)``: one step of Adam on batch number t of the stream of ``key``."""

    def step(state: State, t, key) -> State:
        prompts = draw_prompts(jax.random.fold_in(key, t), setting, batch, L)
        updates, adam = optimiser.update(jax.grad(loss)(state.params, prompts, attention), state.adam)
        return State(optax.apply_updates(state.params, updates), adam)

    return step


def read_weights(state: State, key) -> dict:
    """KQ, the columns that act, and OV."""
    return {"KQ": key_query(state.params)[..., : state.params.Q.shape[-1] - state.params.O.shape[1]], "OV": output_value(state.params)}


def read_pattern(state: State, key) -> dict:
    """The weights of one task and how they are patterned."""
    found = pattern(state.params)
    return read_weights(state, key) | found._asdict() | {"active": is_active(found.mu), "preconditioner": effective_preconditioner(state.params)}


def train(config: Config, setting: Setting, attention: str, H: int, seeds: Sequence[int], read) -> tuple[Params, np.ndarray, dict]:
    """One training run per seed, all in one program: the trained weights, leaves (seeds, ...), the steps read at and the readings, (seeds, steps, ...).

    Initial weights and prompts come from streams of their own, so conditions are compared on the same prompts.
    """
    optimiser = adam(config.lr, config.lr_end, config.steps)
    step = training_step(setting, attention, config.L, config.batch, optimiser)
    params = [init_params(numpy_rng(seed, "init"), H, setting.d, setting.N) for seed in seeds]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    state = State(params, jax.vmap(optimiser.init)(params))
    schedule = np.unique(np.geomspace(min(10, config.steps), config.steps, config.curve_points).round().astype(int))
    state, readings = train_many(step, read, schedule, state, jax_keys(seeds, "prompts"))
    return state.params, schedule, {name: np.asarray(values) for name, values in readings.items()}


# ---- testing: every seed has test prompts of its own, the same in all conditions ----


@functools.cache
def tester(setting: Setting, prompts: int, L: int, measure):
    """``test(params, key)``, for many runs at once: the mean over test prompts of ``measure(params, prompts)``, a dict of arrays."""
    chunk = min(CHUNK, prompts)

    def test(params, key):
        chunks = jax.lax.map(lambda key: measure(params, draw_prompts(key, setting, chunk, L)), jax.random.split(key, prompts // chunk))
        return {name: values.mean(axis=0) for name, values in chunks.items()}

    return jax.jit(jax.vmap(test))


@functools.cache
def errors_of_layer(attention: str, lengths: tuple[int, ...], L: int):
    """Squared errors by prompt length; and, at length L, the second moments of the prediction and of the debiased step of gradient descent."""
    at = np.array(lengths) - 1

    def measure(params, prompts):
        Z, x_q, y_q = prompts
        yhat = predict_prefixes(params, Z, x_q, attention, L)[..., 0]
        _, debiased = gd_prefixes(Z, x_q)
        yhat_L, debiased_L = yhat[:, L - 1], debiased[:, L - 1]
        return {
            "errors": jnp.square(yhat[:, at] - y_q).mean(axis=0),
            "yhat": yhat_L.mean(),
            "yhat^2": jnp.square(yhat_L).mean(),
            "yhat debiased": (yhat_L * debiased_L).mean(),
            "debiased^2": jnp.square(debiased_L).mean(),
        }

    return measure


def run_one_task(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E1-E3 and E5. One layer on one task: its error by prompt length, the pattern of its weights, and how far it is from debiased gradient descent."""
    attention, lengths, L = condition["attention"], config.test_lengths, config.L
    setting = single_task(config.d, config.s2, condition.get("rho", 0.0))
    params, steps, curves = train(config, setting, attention, condition["H"], seeds, read_pattern)
    test = tester(setting, config.test_prompts, max(lengths), errors_of_layer(attention, lengths, L))
    means = {name: np.asarray(values, dtype=np.float64) for name, values in test(params, jax_keys(seeds, "test")).items()}

    final = {name: curve[:, -1].astype(np.float64) for name, curve in curves.items()}  # (seeds, H, ...)
    active, mu = final["active"], final["mu"]
    metrics = {
        "error": means["errors"][:, lengths.index(L)],
        "errors": means["errors"].astype(np.float32),
        "lengths": np.tile(np.array(lengths, dtype=np.float32), (len(seeds), 1)),
        "active_heads": active.sum(axis=1),
        "diag_ratio": np.average(final["diag_ratio"], axis=1, weights=active),
        "diag_ratio_whole": np.average(final["diag_ratio_whole"], axis=1, weights=active),
        "diag_variance": np.average(final["diag_variance"], axis=1, weights=active),
        "last_ratio": np.average(final["last_ratio"], axis=1, weights=active),
        "mu_sum_ratio": np.abs(mu.sum(axis=1)) / np.abs(mu).sum(axis=1),
        "eta": means["yhat debiased"] / means["debiased^2"],
        "distance_to_debiased": (means["yhat^2"] - means["yhat debiased"] ** 2 / means["debiased^2"]) / (means["yhat^2"] - means["yhat"] ** 2),
        "steps": np.tile(steps.astype(np.float32), (len(seeds), 1)),
        "curve_omega": curves["omega"],
        "curve_mu": curves["mu"],
        "KQ": curves["KQ"][:, -1],
        "OV": curves["OV"][:, -1, :, 0],
        "preconditioner": curves["preconditioner"][:, -1],
    }
    if attention == "linear":
        by_length = tester(setting, config.test_prompts, max(lengths), errors_of_layer("linear/L", lengths, L))
        metrics["errors_by_length"] = by_length(params, jax_keys(seeds, "test"))["errors"]
    return metrics


@functools.cache
def errors_of_predictors(lengths: tuple[int, ...], L: int, d: int, s2: float):
    """Squared errors by prompt length of the predictors that need no training; what they fit to a length is fitted to L, as a trained layer is."""
    at = np.array(lengths) - 1
    omega, mu, _ = theory.one_head_minimiser(d, L, s2)
    kernel = in_learnt_form(jnp.array([omega]), jnp.array([mu]), d)
    step_size = theory.best_gd_step(np.eye(d), L, s2)[0, 0]
    step_size_debiased = 1 + s2 - theory.many_heads_infimum(d, L, s2)

    def measure(_, prompts):
        Z, x_q, y_q = prompts
        plain, debiased = gd_prefixes(Z, x_q)
        predictions = {
            "gd": step_size * plain,
            "debiased_gd": step_size_debiased * debiased,
            "kernel": predict_prefixes(kernel, Z, x_q, "softmax", L)[..., 0],
            "ridge": ridge_prefixes(Z, x_q, penalty=d * s2),
        }
        return {f"errors_{name}": jnp.square(yhat[:, at] - y_q).mean(axis=0) for name, yhat in predictions.items()}

    return measure


def run_predictors(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E2. Gradient descent, debiased gradient descent, the kernel smoother and ridge on the test prompts of the trained layers."""
    setting = single_task(config.d, config.s2)
    measure = errors_of_predictors(config.test_lengths, config.L, config.d, config.s2)
    test = tester(setting, config.test_prompts, max(config.test_lengths), measure)
    lengths = np.tile(np.array(config.test_lengths, dtype=np.float32), (len(seeds), 1))
    return test(jnp.zeros(len(seeds)), jax_keys(seeds, "test")) | {"lengths": lengths}


def run_flow(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E4. The gradient flow of the approximate loss from small random omega and mu: how it goes from the first start, where it ends from all of them."""
    H, starts = condition["H"], config.flow_starts

    def start(key):
        omega, mu = 0.01 * jax.random.normal(key, (2, H))
        return omega, mu

    def measure(point, _):
        omega, mu = point
        return {"omega": omega, "mu": mu, "loss": theory.approximate_loss(omega, mu, config.d, config.L, config.s2)}

    keys = jax.vmap(lambda key: jax.random.split(key, starts))(jax_keys(seeds, "flow")).reshape(-1)
    steps = round(config.flow_time / config.flow_dt)
    schedule = np.unique(np.geomspace(min(50, steps), steps, config.curve_points).round().astype(int))
    flow = theory.flow_step(config.d, config.L, config.s2, config.flow_dt)
    _, curves = train_many(flow, measure, schedule, jax.jit(jax.vmap(start))(keys), jnp.zeros(len(keys)))
    curves = {name: np.asarray(curve).reshape(len(seeds), starts, *curve.shape[1:]) for name, curve in curves.items()}
    omega, mu = curves["omega"][:, :, -1], curves["mu"][:, :, -1]  # (seeds, starts, H)
    return {
        "times": np.tile((schedule * config.flow_dt).astype(np.float32), (len(seeds), 1)),
        "flow_omega": curves["omega"][:, 0],
        "flow_mu": curves["mu"][:, 0],
        "flow_loss": curves["loss"][:, 0],
        "end_losses": curves["loss"][:, :, -1],
        "end_mu_sum_ratios": np.abs(mu.sum(axis=2)) / np.abs(mu).sum(axis=2),
        "end_both_signs": (omega.min(axis=2) < 0) & (omega.max(axis=2) > 0),
    }


# ---- two tasks at once ----


@functools.cache
def errors_by_task(L: int):
    def measure(params, prompts):
        yhat = predict_prefixes(params, prompts.Z, prompts.x_q, "softmax", L)[:, L - 1]
        return {"errors": jnp.square(yhat - prompts.y_q).mean(axis=0)}

    return measure


def run_two_tasks(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E6. Two tasks on overlapping covariates: which head serves which task."""
    d, d1, d2 = config.task_covariates
    setting = two_tasks(d, d1, d2, config.task_s2)
    params, _, readings = train(config, setting, condition["attention"], condition["H"], seeds, read_weights)
    errors = tester(setting, config.test_prompts, config.L, errors_by_task(config.L))(params, jax_keys(seeds, "test"))["errors"]
    KQ, OV = readings["KQ"][:, -1], readings["OV"][:, -1]
    service = np.stack([OV[..., 0, d], OV[..., 1, d + 1]], axis=-1)  # (seeds, H, task): the weight of a head on a task's own label
    return {"errors": errors, "service": service, "KQ": KQ, "OV": OV}


if __name__ == "__main__":
    main(__file__)
