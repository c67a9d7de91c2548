"""The hot loop, training on hulls: the compiled program against the same training in plain torch, and against its own vmap over the seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import torch

from papers.pointer_networks import model, replicate

SEEDS, STEPS, POINTS = (1000, 1001, 1002), 100, 10
CONFIG = replicate.Config(train_size=1000)


def inputs() -> tuple:
    """Weights, batches and data with the seeds in front."""
    rngs = [np.random.default_rng(seed) for seed in SEEDS]
    data = replicate.stack([replicate.draw("hull", POINTS, POINTS, CONFIG.train_size, rng) for rng in rngs])
    weights = replicate.stack([model.init(rng, "ptr", CONFIG.hidden, POINTS + 1, CONFIG.weight_range) for rng in rngs])
    batches = replicate.stack([rng.integers(CONFIG.train_size, size=(STEPS, CONFIG.batch)) for rng in rngs])
    return weights, batches, *data


def torch_training(batches: np.ndarray, points: np.ndarray, targets: np.ndarray) -> float:
    """One seed by torch.nn.LSTM and torch.optim.Adam; returns the last loss."""
    H, P, C = CONFIG.hidden, torch.tensor(points, dtype=torch.float32), torch.tensor(targets, dtype=torch.long)
    encoder, decoder = (torch.nn.LSTM(2, H, batch_first=True) for _ in range(2))
    W1, W2 = (torch.nn.Linear(H, H, bias=False) for _ in range(2))
    v, e_0, start = (torch.nn.Parameter(0.1 * torch.randn(size)) for size in (H, H, 2))
    parameters = [*encoder.parameters(), *decoder.parameters(), *W1.parameters(), *W2.parameters(), v, e_0, start]
    adam = torch.optim.Adam(parameters, CONFIG.learning_rate)
    for rows in torch.tensor(batches):
        p, c = P[rows], C[rows]
        e, state = encoder(p)
        e = torch.cat([e_0.expand(len(p), 1, H), e], 1)
        chosen = p.gather(1, (c[:, :-1, None] - 1).clamp(min=0).expand(-1, -1, 2))
        d, _ = decoder(torch.cat([start.expand(len(p), 1, 2), chosen], 1), state)
        u = torch.tanh(W1(e)[:, None] + W2(d)[:, :, None]) @ v  # (batch, steps, slots)
        loss = torch.nn.functional.cross_entropy(u.flatten(0, 1), c.flatten(), ignore_index=-1, reduction="sum") / len(p)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CONFIG.clip)
        adam.step()
    return loss.item()


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain)."""
    train = partial(replicate.train, CONFIG, "ptr")
    weights, batches, points, n, targets = inputs()
    one_behind_the_other, side_by_side = (replicate.over_seeds(train, device) for device in ("cpu", "cuda"))
    work = f"{STEPS} steps for {len(SEEDS)} seeds"
    return {
        f"{work}, against torch": (
            lambda: jax.block_until_ready(one_behind_the_other(weights, batches, points, n, targets)),
            lambda: [torch_training(*arrays) for arrays in zip(batches, points, targets, strict=True)],
        ),
        f"{work}, against vmap over the seeds": (
            lambda: jax.block_until_ready(one_behind_the_other(weights, batches, points, n, targets)),
            lambda: jax.block_until_ready(side_by_side(weights, batches, points, n, targets)),
        ),
    }
