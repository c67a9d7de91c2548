"""The digits network: all seeds in one compiled program, against one eager torch run after the other."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import torch
from torch import nn

from papers.early_learning_regularization import mlp
from papers.early_learning_regularization.photographs import NoisyLabelLoss
from papers.early_learning_regularization.replicate import Config, digits_step, draw_digits, goals, measure_digits
from shared.optim.many import train_many
from shared.seeds import jax_keys

SEEDS, STEPS = 16, 200


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    config = Config()
    drawn = [draw_digits(seed, 0.4) for seed in range(SEEDS)]
    examples, valid = jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)
    examples = examples._replace(key=jax_keys(range(SEEDS), "order"))
    sizes = (64, config.hidden, config.hidden, 10)
    start = jax.vmap(lambda key: mlp.init(key, sizes, examples.x.shape[1]))(jax_keys(range(SEEDS), "init"))
    step = digits_step(config.batch, config.rate)
    data = (examples, valid, goals({"loss": "elr", "beta": 0.7, "lam": 3.0}, SEEDS))

    def ours() -> object:
        return jax.block_until_ready(train_many(step, measure_digits, (STEPS,), start, data))

    def plain() -> None:
        for data, _ in drawn:
            x, y = torch.from_numpy(data.x), torch.from_numpy(data.given)
            network = nn.Sequential(nn.Linear(64, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 10))
            loss = NoisyLabelLoss("elr", len(x), 10, 0.7, 3.0)
            optimizer = torch.optim.SGD(network.parameters(), lr=config.rate, momentum=0.9)
            for _ in range(STEPS):
                rows = torch.randint(0, len(x), (config.batch,))
                optimizer.zero_grad()
                loss(network(x[rows]), y[rows], rows).backward()
                optimizer.step()

    return {f"{STEPS} ELR steps of {SEEDS} digits networks": (ours, plain)}
