"""The hot loop: three seeds in one compiled program that makes its tasks itself, against one seed after the other, tasks made on the host, step by step."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
import optax

from papers.general_purpose_icl.data import meta_training_set
from papers.general_purpose_icl.model import (
    UNLIMITED,
    Run,
    Sequence,
    Shape,
    cross_entropy,
    draw_batch,
    init_learner,
    init_state,
    predict,
    probing,
    training_step,
)
from shared.optim.many import train_many
from shared.seeds import jax_keys, numpy_rng

SEEDS = (1000, 1001, 1002)
SHAPE = Shape("transformer", 32, 2, 1, 20, 16, 5)
BATCH, STEPS, LR = 32, 100, 3e-3


def ours() -> np.ndarray:
    base, keys = meta_training_set("digits", SHAPE.C)[0], jax_keys(SEEDS, "bench")
    many = type(base)(*(np.stack([part] * len(SEEDS)) for part in base))
    probe = jax.vmap(lambda key: draw_batch(key, key, UNLIMITED, 0.0, base, (BATCH, SHAPE.T, SHAPE.d, SHAPE.C)))(keys)
    knobs = (np.full(len(SEEDS), value, dtype) for value, dtype in ((UNLIMITED, np.int32), (0, np.float32), (LR, np.float32)))
    state = jax.vmap(lambda key: init_state(key, SHAPE))(keys)
    _, curves = train_many(training_step(SHAPE, BATCH), probing(SHAPE), [STEPS], state, Run(keys, keys, many, *knobs, probe))
    return np.asarray(curves["loss"])


ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(LR, b2=0.99))


@jax.jit
def plain_step(params: dict, moments: optax.OptState, sequence: Sequence):
    loss, gradient = jax.value_and_grad(lambda params: cross_entropy(predict(params, SHAPE, sequence), sequence.y))(params)
    updates, moments = ADAM.update(gradient, moments)
    return optax.apply_updates(params, updates), moments, loss


def plain() -> np.ndarray:
    base, losses = meta_training_set("digits", SHAPE.C)[0], []
    for seed, key in zip(SEEDS, jax_keys(SEEDS, "bench"), strict=True):
        rng, params = numpy_rng(seed, "bench"), init_learner(key, SHAPE)
        moments = ADAM.init(params)
        for _ in range(STEPS):
            A = rng.normal(size=(BATCH, SHAPE.d, base.x.shape[1])) / np.sqrt(base.x.shape[1])
            rho = np.stack([rng.permutation(SHAPE.C) for _ in range(BATCH)])
            chosen = rng.integers(len(base.y), size=(BATCH, SHAPE.T))
            x = (base.x[chosen] @ A.swapaxes(1, 2)).astype(np.float32)
            params, moments, loss = plain_step(params, moments, Sequence(x, np.take_along_axis(rho, base.y[chosen], axis=1)))
        losses.append(float(loss))
    return np.array(losses)


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    return {f"3 seeds, width {SHAPE.width}, {STEPS} steps": (ours, plain)}
