"""What reading by chunks saves over softmax attention, over the shared mixer that keeps the states of all chunks, and what the rolled features save."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from papers.just_read_twice.prefill import FEATURES, METHODS, draw_workload, prefill
from papers.just_read_twice.replicate import QUERY_WIDTH, VALUE_WIDTH
from shared.sequence.features import Taylor
from shared.sequence.linear import linear_attention


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain), one thread, batch 1, 4 heads."""
    pairs = {}
    for N in (1024, 4096, 8192):
        work = draw_workload(torch.Generator().manual_seed(0), 1, 4, N, QUERY_WIDTH, VALUE_WIDTH, torch.float32)
        softmax = partial(prefill, "softmax", work)
        for method in METHODS[1:]:
            prompt = work.twice() if method == "jrt_prompt" else work
            pairs[f"{method} against softmax attention, N = {N}"] = (partial(prefill, method, prompt), softmax)
    pairs[f"chunk by chunk against all states at once, N = {N}"] = (
        partial(prefill, "based", work, normalise=True),
        torch.inference_mode()(partial(linear_attention, work.q, work.k, work.v, features=Taylor(), normalise=True)),
    )
    pairs[f"rolled features against gathered ones, {4 * N} vectors"] = (partial(FEATURES, work.q), partial(Taylor(), work.q))
    return pairs
