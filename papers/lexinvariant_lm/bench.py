"""The hot loop: the training runs of three seeds as one compiled program, against a loop over seeds and steps that compiles one step alone."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from papers.lexinvariant_lm.model import init_params
from papers.lexinvariant_lm.replicate import Config, State, optimiser, train, training_step
from papers.lexinvariant_lm.text import V, corpus
from shared.seeds import jax_key

CONFIG = Config(steps=30, warm_up=10)
SEEDS = (1000, 1001, 1002)


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    text = corpus("english")[0]
    descent = optimiser(CONFIG.lr, CONFIG.warm_up, CONFIG.steps)
    step = jax.jit(training_step(CONFIG.model, 1.0, CONFIG.batch, descent))

    def ours() -> np.ndarray:
        return train(CONFIG, 1.0, text, SEEDS)[2]

    def plain() -> list[dict]:
        trained = []
        for seed in SEEDS:
            params = init_params(jax_key(seed, "init"), CONFIG.model, V, 1.0, CONFIG.smeared)
            state = State(params, descent.init(params))
            for t in range(CONFIG.steps):
                state = step(state, t, (jax_key(seed, "order"), jnp.asarray(text)))
            trained.append(jax.block_until_ready(state.params))
        return trained

    return {"3 seeds, 30 steps": (ours, plain)}
