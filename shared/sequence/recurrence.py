"""What recurrent mixers share: the loop over steps, blocks of time, and products of decays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

State = TypeVar("State")


def unroll(step: Callable[..., tuple[Tensor, State]], state: State, *inputs: Tensor) -> tuple[Float[Tensor, "b h t dv"], State]:
    """The recurrent form: ``y, state = step(state, *inputs at one time)`` over time, the third axis of every input."""
    outputs = []
    for at_once in zip(*(x.unbind(2) for x in inputs), strict=True):
        y, state = step(state, *at_once)
        outputs.append(y)
    return torch.stack(outputs, dim=2), state


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type that sums over time are kept in: half precision is too narrow for them."""
    return torch.promote_types(dtype, torch.float32)


def blocks(x: Float[Tensor, "b h t *d"], size: int) -> Float[Tensor, "b h n c *d"]:
    """Time cut into blocks of ``size``, zeros appended to fill the last one."""
    missing = -x.shape[2] % size
    if missing:
        x = F.pad(x, (0, 0) * (x.ndim - 3) + (0, missing))
    return x.unflatten(2, (-1, size))


def decay_sums(log_g: Float[Tensor, "... t"]) -> Float[Tensor, "... t t"]:
    """Entry (i, j): log g_(j+1) + ... + log g_i, the log of what is left at time i of something written at time j; -inf for j > i.

    Each entry is summed by itself: differences of one running sum would cancel digits over long times.
    """
    t = log_g.shape[-1]
    later = torch.ones(t, t, dtype=torch.bool, device=log_g.device)
    terms = log_g[..., :, None].expand(*log_g.shape, t).masked_fill(~later.tril(-1), 0)
    return terms.cumsum(-2).masked_fill(later.triu(1), -torch.inf)
