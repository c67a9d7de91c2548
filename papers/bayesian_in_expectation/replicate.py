"""LLMs Are Bayesian, in Expectation, not in Realization (Chlon et al., 2025), replicated on Transformers that we train.

What is run: small causal Transformers, alike but for their positional encoding, learn to predict exchangeable tosses. Then, in float64: how much predictions
depend on the order of a prefix, how far they are from a martingale, what averaging over orders buys, how close they are to exact Bayes, whether counts can be
read from their states. Baselines: a network that is exchangeable by construction (Deep Sets), a Transformer trained on reordered copies.
Hardware: two CPU cores; a few minutes for the cpu profile.
The number to reach: an order variance of 1e-16 without positions and above 1e-8 with them; a martingale gap that falls like log n / n.

    python -m papers.bayesian_in_expectation.replicate --profile cpu
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from sklearn.linear_model import LinearRegression

from papers.bayesian_in_expectation import theory
from papers.bayesian_in_expectation.model import (
    POSITIONAL,
    draw_streams,
    init_mean_pool,
    init_params,
    log_predictive,
    log_predictive_mean_pool,
    next_symbol_loss,
    read,
    transformer,
)
from shared.engine import main
from shared.engine.errors import RequestError
from shared.icl.urns import counts_before
from shared.lms import jax_model
from shared.optim.many import train_many
from shared.seeds import jax_keys, numpy_rng


@dataclass(frozen=True)
class Config:
    T: int = 50
    """Draws in a training stream; predictions stand behind 0 .. T - 1 of them. Paper: prompts of 10 to 100 examples."""
    width: int = 32
    """Width of all networks."""
    heads: int = 2
    """Attention heads."""
    encodings: tuple[str, ...] = POSITIONAL
    """Positional encodings, beside none."""
    depths: tuple[int, ...] = (1,)
    """Layers of the Transformers with each encoding; the first entry also of the one that is trained on reordered copies."""
    deep: int = 2
    """Layers of two further Transformers, rotary and without positions."""
    copies: int = 4
    """Orders of each stream in a batch of the Transformer that is trained on reordered copies."""
    symbols: tuple[int, ...] = (2,)
    """V of the urns; 2 is the coin."""
    steps: int = 800
    """Training steps, the same for all."""
    batch: int = 32
    """Streams in a step, always fresh ones."""
    lr: float = 3e-3
    """Peak step size of AdamW, the same for all; cosine decay to zero."""
    warm_up: int = 50
    """Steps of linear warm-up."""

    lengths: tuple[int, ...] = (5, 10, 20, 30, 48)
    """n: prefix lengths at which orders and gaps are measured."""
    prefixes: int = 40
    """Prefixes of each length, at least; for a coin every number of heads equally often."""
    orders: int = 32
    """Orders of each prefix."""
    averaged: int = 16
    """k of the permutation-averaged predictor. Paper: about 20."""
    focus: int = 20
    """n at which averaging, sufficiency and calibration are looked at."""
    focus_prefixes: int = 42
    """Prefixes there, at least."""
    focus_orders: int = 128
    """Orders of each prefix there."""
    ks: tuple[int, ...] = (1, 2, 4, 8, 16, 20, 32, 64)
    """k: orders that are averaged."""
    test_streams: int = 512
    """Held-out streams, at least, for the risk at every length and, one half to fit it and one to test it, for the probe."""
    fixed_p: tuple[float, ...] = (0.1, 0.3, 0.5)
    """Coins for which the risk is compared with their own entropy H(p)."""


def conditions(config: Config) -> list[dict]:
    """The grid; RequestError for prefixes that a sequence has no room for."""
    if wrong := [n for n in config.lengths if not 1 <= n <= config.T - 2]:
        raise RequestError(f"--config.lengths lie between 1 and T - 2 = {config.T - 2}, not {wrong[0]}")
    grid = []
    for V in config.symbols:
        base = {"network": "transformer", "V": V, "training": "plain"}
        grid += [base | {"encoding": encoding, "layers": layers} for layers in config.depths for encoding in ("none", *config.encodings)]
        if config.deep not in config.depths:
            grid += [base | {"encoding": encoding, "layers": config.deep} for encoding in ("none", "rotary")]
        grid += [base | {"encoding": "rotary", "layers": config.depths[0], "training": "reordered"}]
        grid += [{"network": "mean pool", "V": V, "training": "plain"}]
    return grid


def run(config: Config, condition: dict, seeds: Sequence[int], device: str) -> list[dict]:
    with jax.default_device(jax.devices({"cpu": "cpu", "cuda": "gpu"}[device])[0]):
        network = make_network(config, condition)
        trained, steps, curves = train(config, condition, network, seeds)
        with jax.enable_x64(True):
            predictive = jax.jit(network.log_predictive)
            return [
                {"steps": steps, "training_kl": curve} | measure(config, condition, network, predictive, params, seed)
                for seed, params, curve in zip(seeds, trained, curves, strict=True)
            ]


# ---- networks ----


class Network(NamedTuple):
    init: Callable
    log_predictive: Callable
    """(params, ids (..., n)) -> log-probabilities (..., n + 1, V)."""
    states: Callable | None
    """(params, ids (..., n)) -> the residual stream (layers + 1, ..., n + 1, width)."""


def make_network(config: Config, condition: dict) -> Network:
    V = condition["V"]
    if condition["network"] == "mean pool":
        return Network(functools.partial(init_mean_pool, V=V, width=config.width), log_predictive_mean_pool, None)
    model = transformer(V, config.T, condition["encoding"], condition["layers"], config.width, config.heads)
    return Network(
        functools.partial(init_params, config=model),
        lambda params, ids: log_predictive(params, model, ids),
        lambda params, ids: jax_model.hidden_states(params, model, read(model, ids)),
    )


# ---- training ----


class State(NamedTuple):
    params: dict
    adam: optax.OptState


def train(config: Config, condition: dict, network: Network, seeds: Sequence[int]) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """One run per seed, all in one program, on next-symbol loss. Parameters of each seed; steps, and there the mean KL(Bayes || network), (seeds, points).

    Networks of one seed read the same streams, but for the one that is trained on reordered copies of a part of them.
    """
    V, T = condition["V"], config.T
    copies = config.copies if condition["training"] == "reordered" else 1
    optimiser = optax.adamw(optax.warmup_cosine_decay_schedule(0.0, config.lr, config.warm_up, config.steps), b2=0.98, weight_decay=1e-4)

    def loss(params: dict, ids: Int[Array, "batch T"]) -> Float[Array, ""]:
        return next_symbol_loss(network.log_predictive(params, ids[:, :-1]), ids)

    def step(state: State, t: Int[Array, ""], key: Array) -> State:
        key_streams, key_orders = jax.random.split(jax.random.fold_in(key, t))
        ids = draw_streams(key_streams, V, config.batch // copies, T)
        if copies > 1:
            ids = jax.random.permutation(key_orders, jnp.repeat(ids, copies, axis=0), axis=1, independent=True)
        updates, adam = optimiser.update(jax.grad(loss)(state.params, ids), state.adam, state.params)
        return State(optax.apply_updates(state.params, updates), adam)

    watched = theory.prefixes(numpy_rng(0, "watched"), T - 1, V, 64)
    bayes = theory.laplace(counts_before(watched, V)).astype(np.float32)

    def watch(state: State, key: Array) -> Float[Array, ""]:
        return (bayes * (np.log(bayes) - network.log_predictive(state.params, watched))).sum(-1).mean()

    schedule = np.unique(np.linspace(0, config.steps, 16).astype(int))
    params = jax.vmap(network.init)(jax_keys(seeds, "init"))
    state, curves = train_many(step, watch, schedule, State(params, jax.vmap(optimiser.init)(params)), jax_keys(seeds, "streams"))
    trained = [jax.tree.map(operator.itemgetter(i), jax.device_get(state.params)) for i in range(len(seeds))]
    return trained, schedule, np.asarray(curves)


# ---- measuring, in float64 ----

CHUNK = 256
"""Prefixes in one call of a network. All are padded to one length, which a causal network does not notice: one program serves every n."""


def measure(config: Config, condition: dict, network: Network, predictive: Callable, params: dict, seed: int) -> dict:
    """All measures of one trained network; ``predictive`` is its compiled ``log_predictive``. The prefixes of one seed are the same for every network."""
    V = condition["V"]
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float64), params)
    behind = functools.partial(predict_behind, functools.partial(predictive, params), config.T)
    rows = [measure_orders(config, behind, V, n, numpy_rng(seed, f"orders {n}")) for n in config.lengths]
    row = {name: np.array([each[name] for each in rows]) for name in rows[0]}
    row |= {"lengths": np.array(config.lengths), "ks": np.array(config.ks)}
    row |= measure_focus(config, behind, V, numpy_rng(seed, "focus"))
    streams = numpy_rng(seed, "test").permutation(theory.prefixes(numpy_rng(seed, "test streams"), config.T - 1, V, config.test_streams))
    row |= measure_risk(functools.partial(predictive, params), streams, V)
    if network.states is not None:
        row |= probe(np.asarray(jax.jit(network.states)(params, streams)), streams, V)
    return row


def predict_behind(predictive: Callable, T: int, ids: Int[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch V"]:
    """Probabilities of x_{n+1}, in chunks."""
    *batch, n = ids.shape
    rows = ids.reshape(-1, n)
    padded = np.pad(rows, ((0, -len(rows) % CHUNK), (0, T - 1 - n)))
    log_q = np.concatenate([np.asarray(predictive(part))[:, n] for part in padded.reshape(-1, CHUNK, T - 1)])
    return np.exp(log_q[: len(rows)]).reshape(*batch, -1)


def measure_orders(config: Config, behind: Callable, V: int, n: int, rng: np.random.Generator) -> dict:
    """E2, E4 at one length: order variance, martingale gap, realisation and Jensen gaps, risk of one order and of the average of several."""
    ids = theory.prefixes(rng, n, V, config.prefixes)
    bayes = theory.laplace(np.stack([(ids == v).sum(-1) for v in range(V)], axis=-1))
    q = behind(theory.reordered(rng, ids, config.orders))  # (P, orders, V)
    extended = np.concatenate([np.repeat(ids[:, None], V, axis=1), np.broadcast_to(np.arange(V)[:, None], (len(ids), V, 1))], axis=-1)
    present = behind(ids)
    gap = theory.martingale_gap(present, behind(extended))
    entropy = theory.cross_entropy(bayes, bayes)
    averaged = q[:, : config.averaged].mean(axis=1)
    row = {
        "order_variance": theory.order_variance(q[..., -1]).mean(),
        "martingale_gap": gap.mean(),
        "martingale_gap_relative": (gap / present[:, -1]).mean(),
        "realization_gap": theory.realization_gap(q[..., -1]).mean(),
        "jensen_gap": theory.jensen_gap(bayes, q).mean(),
        "kl_one_order": (theory.cross_entropy(bayes[:, None], q).mean(axis=1) - entropy).mean(),
        "kl_averaged": (theory.cross_entropy(bayes, averaged) - entropy).mean(),
    }
    if V == 2:
        row["fixed_p_risk"] = np.array([theory.fixed_source_risk(q, ids.sum(-1), n, p) for p in config.fixed_p])
    return row


def measure_focus(config: Config, behind: Callable, V: int, rng: np.random.Generator) -> dict:
    """E3 and calibration: many orders of prefixes of one length."""
    ids = theory.prefixes(rng, config.focus, V, config.focus_prefixes)
    counts = np.stack([(ids == v).sum(-1) for v in range(V)], axis=-1)
    q = behind(theory.reordered(rng, ids, config.focus_orders))[..., -1]  # (P, orders)
    bayes = theory.laplace(counts)[:, -1]
    return {
        "averaging_deviation": np.array([theory.averaging_deviation(q, k) for k in config.ks]),
        "explained_by_counts": theory.explained_by_counts(np.log(q) - np.log1p(-q), counts),
        "laplace_correlation": np.corrcoef(q[:, 0], bayes)[0, 1],
        "calibration_bayes": bayes,
        "calibration_one_order": q[:, 0],
    }


def measure_risk(predictive: Callable, streams: Int[np.ndarray, "S n"], V: int) -> dict:
    """E4. Mean KL(Bayes || network) behind 0 .. n draws: the excess over the Bayes risk, without the noise of the next draw."""
    log_q = np.concatenate([np.asarray(predictive(part)) for part in np.array_split(streams, max(1, len(streams) // CHUNK))])
    bayes = theory.laplace(counts_before(streams, V))
    return {"kl": (bayes * (np.log(bayes) - log_q)).sum(-1).mean(axis=0)}


def probe(states: Float[np.ndarray, "layers+1 S n+1 width"], streams: Int[np.ndarray, "S n"], V: int) -> dict:
    """E5. R^2, on held-out streams, of linear readings of n_v / n and log (n_v + 1)/(n - n_v + 1), v the last symbol, from states behind n >= 5 draws."""
    counts = np.asarray(counts_before(streams, V))[:, 5:, -1]
    n = np.arange(5, streams.shape[1] + 1)
    targets = np.stack([counts / n, np.log(counts + 1) - np.log(n - counts + 1)], axis=-1)  # (S, n - 4, 2)
    fit, test = np.array_split(np.arange(len(streams)), 2)
    scores = []
    for layer in states[:, :, 5:]:
        X, Y = (values[test].reshape(-1, values.shape[-1]) for values in (layer, targets))
        reader = LinearRegression().fit(*(values[fit].reshape(-1, values.shape[-1]) for values in (layer, targets)))
        scores.append(1 - np.square(reader.predict(X) - Y).sum(axis=0) / np.square(Y - Y.mean(axis=0)).sum(axis=0))
    frequency, log_odds = np.array(scores).T
    return {"probe_frequency": frequency, "probe_log_odds": log_odds}


if __name__ == "__main__":
    main(__file__)
