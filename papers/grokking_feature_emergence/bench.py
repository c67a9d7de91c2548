"""The hot loop: sixteen seeds trained in one compiled program, against sixteen runs one after the other in eager torch.

Same data, same initial weights, same optimiser, same evaluations. The torch side is written the plain way: one-hot inputs of the train pairs, autograd,
``torch.optim.Adam``. The small net is the smallest of the phase diagram, where the cost of dispatching small operations is what is saved;
the larger one is the grokking curve's, where both sides are held by the same matrix products and the gain comes from fused element-wise work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from papers.grokking_feature_emergence.model import group_table, init_params, random_split
from papers.grokking_feature_emergence.replicate import train
from shared.seeds import numpy_rng

SETTING = {"lr": 0.01, "wd": 5e-4}


def train_in_torch(group: str, K: int, fraction: float, seed: int, schedule: Sequence[int]) -> torch.Tensor:
    """One seed's run; test accuracy at every entry of the schedule."""
    labels = torch.as_tensor(group_table(group).ravel())
    M = math.isqrt(len(labels))
    g1, g2 = torch.arange(M).repeat_interleave(M), torch.arange(M).repeat(M)
    X = torch.cat([torch.nn.functional.one_hot(g1, M), torch.nn.functional.one_hot(g2, M)], dim=1).float()
    train_rows = torch.as_tensor(random_split(numpy_rng(seed, "split"), M, fraction)).bool()
    X_train, y_train, X_test, y_test = X[train_rows], labels[train_rows], X[~train_rows], labels[~train_rows]
    W, V = (torch.tensor(param, requires_grad=True) for param in init_params(numpy_rng(seed, "init"), M, K))
    optimiser = torch.optim.Adam([W, V], lr=SETTING["lr"], weight_decay=SETTING["wd"])
    accuracies = []
    for t in range(schedule[-1]):
        optimiser.zero_grad()
        o = torch.square(X_train @ W) @ V
        o = o - o.mean(dim=1, keepdim=True)
        loss = (torch.square(o).sum(dim=1) - 2 * o[torch.arange(len(o)), y_train] + 1 - 1 / M).mean()
        loss.backward()
        optimiser.step()
        if t + 1 in schedule:
            with torch.no_grad():
                accuracies.append(((torch.square(X_test @ W) @ V).argmax(dim=1) == y_test).float().mean())
    return torch.stack(accuracies)


def many_against_one_by_one(group: str, K: int, fraction: float, steps: int) -> tuple[Callable, Callable]:
    """Sixteen seeds at once in JAX, and one by one in torch."""
    seeds, schedule = range(1000, 1016), range(20, steps + 1, 20)

    def ours() -> np.ndarray:
        _, _, curves = train(group, K, fraction, seeds, schedule=schedule, **SETTING)
        return np.asarray(curves["test_accuracy"])

    def plain() -> np.ndarray:
        return np.stack([train_in_torch(group, K, fraction, seed, schedule).numpy() for seed in seeds])

    return ours, plain


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    return {
        "16 seeds, M = 11, K = 128, 60 steps": many_against_one_by_one("Z11", 128, 0.6, 60),
        "16 seeds, M = 23, K = 256, 20 steps": many_against_one_by_one("Z23", 256, 0.5, 20),
    }
