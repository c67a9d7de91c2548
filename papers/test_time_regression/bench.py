"""The hot loops against plain versions: the delta rule in chunks against its steps, and local linear attention by moments against the paper's form."""

from __future__ import annotations

from collections.abc import Callable

import torch

from papers.test_time_regression import layers, model, tasks
from shared.sequence.delta import delta_rule, delta_rule_step
from shared.sequence.recurrence import unroll


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain)."""
    gen = torch.Generator().manual_seed(0)
    q, k, v, _ = tasks.linear_recall(gen, 16, 512, 16, 0.5, 0.1)
    b, empty = model.normalised_step_size(k, 0.5), torch.zeros(16, 1, 16, 16, dtype=k.dtype)
    weights = model.local_weights(model.dot_scores(q[:1], k[:1]), 4.0, torch.ones(512, 512, dtype=torch.bool).tril())
    one = q[:1], k[:1], v[:1], layers.RIDGE
    return {
        "delta rule, 16 sequences of 512": (
            lambda: delta_rule(q, k, v, b, chunk=layers.CHUNK),
            lambda: unroll(delta_rule_step, empty, q, k, v, b),
        ),
        "local linear attention, t = 512, Dk = 16": (
            lambda: model.local_linear_from_moments(weights, *one),
            lambda: model.local_polynomial(weights, *one[:3], 1, ridge=layers.RIDGE),
        ),
    }
