"""The hot loop: three seeds trained in one compiled program, against the same runs one after the other with a Python loop over jitted steps."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
import optax

from papers.bayesian_in_expectation.model import draw_streams, next_symbol_loss
from papers.bayesian_in_expectation.replicate import Config, make_network, train
from shared.seeds import jax_key

CONDITION = {"network": "transformer", "encoding": "rotary", "layers": 1, "V": 2, "training": "plain"}
CONFIG = Config(steps=200)
SEEDS = (1000, 1001, 1002)


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    network = make_network(CONFIG, CONDITION)
    optimiser = optax.adamw(optax.warmup_cosine_decay_schedule(0.0, CONFIG.lr, CONFIG.warm_up, CONFIG.steps), b2=0.98, weight_decay=1e-4)

    @jax.jit
    def step(params, adam, key):
        ids = draw_streams(key, 2, CONFIG.batch, CONFIG.T)
        gradient = jax.grad(lambda params: next_symbol_loss(network.log_predictive(params, ids[:, :-1]), ids))(params)
        updates, adam = optimiser.update(gradient, adam, params)
        return optax.apply_updates(params, updates), adam

    def ours() -> np.ndarray:
        return train(CONFIG, CONDITION, network, SEEDS)[2]

    def plain() -> list[dict]:
        ends = []
        for seed in SEEDS:
            params = network.init(jax_key(seed, "init"))
            adam = optimiser.init(params)
            for t in range(CONFIG.steps):
                params, adam = step(params, adam, jax.random.fold_in(jax_key(seed, "streams"), t))
            ends.append(jax.block_until_ready(params))
        return ends

    return {"3 seeds, one layer, T = 50, 200 steps": (ours, plain)}
