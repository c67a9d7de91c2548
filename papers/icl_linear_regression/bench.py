"""What one compiled program for all seeds saves: training sixteen layers at once, against one eager torch run after another, as the official code trains."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import torch
from torch import nn

from papers.icl_linear_regression.model import single_task
from papers.icl_linear_regression.replicate import Config, read_weights, train

SEEDS, STEPS, H = 16, 60, 2


class TorchAttention(nn.Module):
    """The layer as torch modules: fused projections of width H D, heads split off and merged again."""

    def __init__(self, H: int, d: int):
        super().__init__()
        self.H, self.D = H, d + 1
        self.q, self.k, self.v = (nn.Linear(self.D, H * self.D, bias=False) for _ in range(3))
        self.o = nn.Linear(H * self.D, 1, bias=False)

    def forward(self, Z: torch.Tensor, x_q: torch.Tensor) -> torch.Tensor:
        """Z (B, L, D) and x_q (B, d) to yhat (B,)."""
        z_q = torch.cat([x_q, torch.zeros_like(x_q[:, :1])], dim=1)[:, None]  # (B, 1, D)
        q, k, v = (layer(z).unflatten(-1, (self.H, self.D)).transpose(1, 2) for layer, z in ((self.q, z_q), (self.k, Z), (self.v, Z)))
        weights = torch.softmax(q @ k.transpose(-2, -1) * self.D**-0.5, dim=-1)  # (B, H, 1, L)
        return self.o((weights @ v).transpose(1, 2).flatten(1))[:, 0]


def torch_training(config: Config) -> None:
    d, L, batch = config.d, config.L, config.batch
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        layer = TorchAttention(H, d)
        optimiser = torch.optim.Adam(layer.parameters(), lr=config.lr)
        for _ in range(STEPS):
            x, beta = torch.randn(batch, L + 1, d), torch.randn(batch, d) * d**-0.5
            y = torch.einsum("bld,bd->bl", x, beta) + config.s2**0.5 * torch.randn(batch, L + 1)
            Z = torch.cat([x, y[..., None]], dim=2)[:, :L]
            loss = nn.functional.mse_loss(layer(Z, x[:, L]), y[:, L])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def ours_training(config: Config) -> None:
    params, schedule, _ = train(config, single_task(config.d, config.s2), "softmax", H, range(SEEDS), read_weights)
    assert schedule[-1] == STEPS  # both sides take the same number of steps
    jax.block_until_ready(params)


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain)."""
    configs = (Config(steps=STEPS, curve_points=2, batch=batch) for batch in (64, 256))  # the cpu profile's batch and the paper's
    return {
        f"train {SEEDS} layers of {H} heads for {STEPS} steps of {config.batch} prompts": (partial(ours_training, config), partial(torch_training, config))
        for config in configs
    }
