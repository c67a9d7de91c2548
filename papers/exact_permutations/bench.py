"""The two hot loops: training an ensemble, against the official way in torch; and drawing a growing ensemble, against network by network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import torch

from papers.exact_permutations import model
from papers.exact_permutations.networks import ensembles
from papers.exact_permutations.replicate import two_hot_inputs

K, WIDTH, NETWORKS, TOLERANCE = 8, 2000, 20, 1e-8


def ours_training():
    """One compiled program for all networks."""
    P, x, keys = np.eye(K, dtype=np.float32)[None], two_hot_inputs(K).astype(np.float32), jax.random.split(jax.random.key(0), 1)
    return jax.block_until_ready(ensembles(keys, P, x, m=WIDTH, regime="standard", N=NETWORKS, tolerance=TOLERANCE, at_once=1))


def torch_training():
    """One torch network after another, as in the official experiment.py; same step size and the same end of training."""
    inputs, targets, x = torch.eye(K), torch.eye(K), torch.tensor(two_hot_inputs(K), dtype=torch.float32)
    rate = 0.5 / model.top_curvature(K, "standard", WIDTH)
    outputs = []
    for _ in range(NETWORKS):
        network = torch.nn.Sequential(torch.nn.Linear(K, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, K))
        for layer, fan_in in ((network[0], K), (network[2], WIDTH)):
            torch.nn.init.normal_(layer.weight, std=fan_in**-0.5)
            torch.nn.init.zeros_(layer.bias)
        optimiser = torch.optim.SGD(network.parameters(), lr=rate)
        error = float("inf")
        while error > TOLERANCE:
            optimiser.zero_grad()
            loss = 0.5 * ((network(inputs) - targets) ** 2).sum()
            loss.backward()
            optimiser.step()
            error = 2 * loss.item() / K**2
        with torch.no_grad():
            outputs.append(network(x))
    return torch.stack(outputs)


def drawing(one_by_one: bool):
    """Accuracy of 300 sampled networks at k = 15: coordinate by coordinate over all sizes, or network by network."""
    rng = np.random.default_rng(0)
    P, (x, times) = model.draw_permutation(15, rng), model.draw_test_inputs(15, 2, 1000, rng)
    if not one_by_one:
        return model.sampled_accuracy(P, x, times, np.arange(1, 301), "standard", rng)
    t, cov = model.posterior(x, "standard")
    total, accuracy = np.zeros_like(x), []
    for _ in range(300):
        total += t @ P.T + rng.multivariate_normal(np.zeros(len(x)), cov, size=15, method="cholesky", check_valid="ignore").T
        accuracy.append(((total > 0) == (x @ P.T > 0)).all(axis=1) @ times / times.sum())
    return np.array(accuracy)


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain)."""
    return {
        f"train {NETWORKS} networks, k = {K}, m = {WIDTH}": (ours_training, torch_training),
        "draw a growing ensemble of 300, k = 15": (partial(drawing, False), partial(drawing, True)),
    }
