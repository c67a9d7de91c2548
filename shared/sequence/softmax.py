"""Softmax attention, the reference: its memory is the list of all pairs.

y_t = sum_i exp(q_t . k_i / tau) v_i / sum_i exp(q_t . k_i / tau)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Cache(NamedTuple):
    """All pairs so far."""

    k: Float[Tensor, "b h s d"]
    v: Float[Tensor, "b h s dv"]


def softmax_attention(
    q: Float[Tensor, "b h t d"],
    k: Float[Tensor, "b h t d"],
    v: Float[Tensor, "b h t dv"],
    *,
    tau: float | None = None,
    causal: bool = True,
    cache: Cache | None = None,
) -> tuple[Float[Tensor, "b h t dv"], Cache]:
    """torch's scaled_dot_product_attention, with temperature ``tau`` (None = sqrt(d)), continuing after the pairs of ``cache``."""
    tau = q.shape[-1] ** 0.5 if tau is None else tau
    if cache is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=1 / tau), Cache(k, v)
    cache = Cache(torch.cat([cache.k, k], dim=2), torch.cat([cache.v, v], dim=2))
    t, s = q.shape[2], cache.k.shape[2]
    seen = torch.ones(t, s, dtype=torch.bool, device=q.device).tril(s - t) if causal else None
    return F.scaled_dot_product_attention(q, *cache, attn_mask=seen, scale=1 / tau), cache


def softmax_attention_step(
    cache: Cache, q: Float[Tensor, "b h d"], k: Float[Tensor, "b h d"], v: Float[Tensor, "b h dv"], *, tau: float | None = None
) -> tuple[Float[Tensor, "b h dv"], Cache]:
    """One token: it sees itself and everything before."""
    y, cache = softmax_attention(q[:, :, None], k[:, :, None], v[:, :, None], tau=tau, cache=cache)
    return y.squeeze(2), cache


def empty_cache(k: Float[Tensor, "b h ... d"], v: Float[Tensor, "b h ... dv"]) -> Cache:
    """No pairs yet, for inputs like ``k`` and ``v`` (with or without the time axis)."""
    return Cache(*(x.new_empty(*x.shape[:2], 0, x.shape[-1]) for x in (k, v)))
