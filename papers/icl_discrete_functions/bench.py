"""The hot loop: three Transformers of the cpu profile trained side by side in one compiled program, against one after the other in eager torch.

Same shapes, same generator of conjunctions, same optimiser; prompts are drawn inside the loop on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import torch
from torch import nn

from papers.icl_discrete_functions.model import Course, Data, Network, init_states, measurement, training_step
from papers.icl_discrete_functions.replicate import Config, draw_tests, task_of
from papers.icl_discrete_functions.tasks import Task
from shared.optim.many import train_many
from shared.seeds import jax_keys

SEEDS, STEPS = range(1000, 1003), 20


class TorchTransformer(nn.Module):
    """The official model's shape: linear read-in, GPT-2 blocks, linear read-out at the points."""

    def __init__(self, task: Task, net: Network) -> None:
        super().__init__()
        gelu = partial(nn.functional.gelu, approximate="tanh")
        block = nn.TransformerEncoderLayer(net.width, net.heads, 4 * net.width, dropout=0.0, activation=gelu, batch_first=True, norm_first=True)
        self.read_in, self.read_out = nn.Linear(task.n, net.width), nn.Linear(net.width, 1)
        self.positions = nn.Parameter(0.02 * torch.randn(2 * task.m, net.width))
        self.blocks = nn.TransformerEncoder(block, net.layers, norm=nn.LayerNorm(net.width), enable_nested_tensor=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(2 * task.m))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """x (B, m, n) and y (B, m) to logits (B, m)."""
        labels = torch.zeros_like(x)
        labels[..., 0] = y
        tokens = torch.stack([x, labels], dim=2).flatten(1, 2)
        return self.read_out(self.blocks(self.read_in(tokens) + self.positions, mask=self.mask, is_causal=True))[:, ::2, 0]


def conjunctions(task: Task, B: int) -> tuple[torch.Tensor, torch.Tensor]:
    u = torch.rand(B, 1, task.n)
    w = (u < 0.15).float() - (u > 0.85).float()
    x = 2.0 * torch.randint(0, 2, (B, task.m, task.n)) - 1
    x = torch.where((torch.rand(B, task.m, 1) < 0.3) & (w != 0), w, x)
    return x, torch.sign((w * x).sum(-1) - w.abs().sum(-1) + 1)


def torch_training(config: Config, task: Task, net: Network) -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = TorchTransformer(task, net)
        optimiser = torch.optim.Adam(model.parameters(), lr=config.lr)
        for _ in range(STEPS):
            x, y = conjunctions(task, config.batch)
            optimiser.zero_grad()
            nn.functional.softplus(-y * model(x, y)).mean().backward()
            optimiser.step()


def ours_training(config: Config, task: Task, net: Network) -> None:
    course = Course(STEPS, config.batch, 0, 1.0)
    state = init_states(jax_keys(SEEDS, "init"), net, task)
    data = Data(jax_keys(SEEDS, "training"), draw_tests(jax_keys(SEEDS, "tests"), task, 8), jnp.full(len(SEEDS), config.lr))
    jax.block_until_ready(train_many(training_step(net, task, course), measurement(net, task), [STEPS], state, data))


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain). Steps per second of one network are 60 divided by the seconds shown."""
    config = Config()
    task, net = task_of(config, "conjunction"), Network("transformer", config.layers, config.width, config.heads)
    return {f"{len(SEEDS)} Transformers, {STEPS} steps each": (partial(ours_training, config, task, net), partial(torch_training, config, task, net))}
