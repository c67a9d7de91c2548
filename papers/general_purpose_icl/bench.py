"""The hot loop: three seeds in one compiled program that makes its tasks itself, against one seed after the other, tasks made on the host, step by step."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from papers.general_purpose_icl.data import meta_training_set
from papers.general_purpose_icl.model import ADAM, UNLIMITED, Run, Sequence, Shape, State, cross_entropy, init_state, predict, training_step
from shared.optim.many import train_many
from shared.seeds import jax_keys, numpy_rng

SEEDS = (1000, 1001, 1002)
SHAPE = Shape("transformer", 32, 2, 2, 20, 16, 5)
BATCH, STEPS, LR = 32, 20, 3e-3


def no_measurement(state: State, run: Run) -> dict:
    return {}


@jax.jit
def plain_step(state: State, sequence: Sequence) -> State:
    gradient = jax.grad(lambda params: cross_entropy(predict(params, SHAPE, sequence), sequence.y))(state.params)
    direction, moments = ADAM.update(gradient, state.moments)
    return State(jax.tree.map(lambda p, u: p - LR * u, state.params, direction), moments)


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    base, n = meta_training_set("digits", SHAPE.C)[0], len(SEEDS)
    keys, first = jax_keys(SEEDS, "bench"), jax.vmap(lambda key: init_state(key, SHAPE))(jax_keys(SEEDS, "init"))
    starts = [jax.tree.map(lambda leaf, i=i: leaf[i], first) for i in range(n)]
    knobs = (np.full(n, value, dtype) for value, dtype in ((UNLIMITED, np.int32), (0, np.float32), (LR, np.float32)))
    no_probe = Sequence(np.zeros((n, 0)), np.zeros((n, 0)))
    run = Run(keys, keys, type(base)(*(np.stack([part] * n) for part in base)), *knobs, no_probe)

    def ours() -> State:
        return jax.block_until_ready(train_many(training_step(SHAPE, BATCH), no_measurement, [STEPS], first, run)[0])

    def plain() -> list[State]:
        last = []
        for seed, state in zip(SEEDS, starts, strict=True):
            rng = numpy_rng(seed, "bench")
            for _ in range(STEPS):
                A = rng.normal(size=(BATCH, SHAPE.d, base.x.shape[1])) / np.sqrt(base.x.shape[1])
                rho = np.stack([rng.permutation(SHAPE.C) for _ in range(BATCH)])
                chosen = rng.integers(len(base.y), size=(BATCH, SHAPE.T))
                x = (base.x[chosen] @ A.swapaxes(1, 2)).astype(np.float32)
                state = plain_step(state, Sequence(x, np.take_along_axis(rho, base.y[chosen], axis=1)))
            last.append(jax.block_until_ready(state))
        return last

    return {f"3 seeds, width {SHAPE.width}, {STEPS} steps": (ours, plain)}
