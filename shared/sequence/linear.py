"""Linear attention: a sum of outer products of key features and values, with optional scalar decay, normalisation and prefix.

    S_t = g_t S_(t-1) + phi(k_t) v_t^T        z_t = g_t z_(t-1) + phi(k_t)
    y_t = phi(q_t)^T S_t                       divided by phi(q_t)^T z_t when normalised

g = 1 is linear attention, g_t <= 1 gated linear attention or a scalar state-space model. A prefix (prefix linear attention, Arora et al., 2024) is read
without causal order, through keys and values of its own, and only sets the state that the causal part starts from.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shared.sequence.features import FeatureMap, Identity
from shared.sequence.recurrence import blocks, decay_sums, wide

IDENTITY = Identity()


class Memory(NamedTuple):
    """The state of linear attention; float32 or wider."""

    S: Float[Tensor, "b h f dv"]
    z: Float[Tensor, "b h f"]


def empty_memory(k: Float[Tensor, "b h ... d"], v: Float[Tensor, "b h ... dv"], features: FeatureMap = IDENTITY) -> Memory:
    """The state before the first token, for inputs like ``k`` and ``v`` (with or without the time axis)."""
    f = features(k.new_zeros(k.shape[-1])).shape[-1]
    size, dtype = k.shape[:2], wide(v.dtype)
    return Memory(torch.zeros(*size, f, v.shape[-1], dtype=dtype, device=v.device), torch.zeros(*size, f, dtype=dtype, device=v.device))


def memorise(k: Float[Tensor, "b h t d"], v: Float[Tensor, "b h t dv"], features: FeatureMap = IDENTITY, mask: Bool[Tensor, "b t"] | None = None) -> Memory:
    """The state after all pairs, which is all that order-free attention needs; where ``mask`` is False (padding) a pair is left out."""
    phi_k = _masked(features(k), mask)
    return Memory((phi_k.mT @ v).to(wide(v.dtype)), phi_k.sum(2, dtype=wide(v.dtype)))


def recall(memory: Memory, q: Float[Tensor, "b h t d"], features: FeatureMap = IDENTITY, normalise: bool = False) -> Float[Tensor, "b h t dv"]:
    """What every query reads from one and the same state: with ``memorise``, non-causal linear attention."""
    phi_q = features(q)
    y = phi_q @ memory.S.to(q.dtype)
    return _normalised(y, phi_q.to(memory.z.dtype) @ memory.z[..., None]) if normalise else y


def linear_attention(
    q: Float[Tensor, "b h t d"],
    k: Float[Tensor, "b h t d"],
    v: Float[Tensor, "b h t dv"],
    log_g: Float[Tensor, "b h t"] | None = None,
    *,
    features: FeatureMap = IDENTITY,
    normalise: bool = False,
    mask: Bool[Tensor, "b t"] | None = None,
    memory: Memory | None = None,
    chunk: int = 64,
) -> tuple[Float[Tensor, "b h t dv"], Memory]:
    """Causal linear attention, parallel over time.

    Inside a chunk of time it is attention with a kernel in place of the exponential, between chunks it goes through the state.

    Parameters
    ----------
    log_g : logarithm of the gates, finite; None = no decay.
    mask : where False, the pair is not memorised (padding); a query that sees no pair at all reads 0.
    memory : state to continue from; None = empty.
    chunk : block length; the result does not depend on it.
    """
    t, dtype, sums = q.shape[2], q.dtype, wide(v.dtype)
    if memory is None:
        memory = empty_memory(k, v, features)
    if mask is None and t % chunk:
        mask = torch.ones(len(q), t, dtype=torch.bool, device=q.device)  # what fills the last block must not be memorised: phi(0) need not be 0
    if mask is not None:
        mask = blocks(mask[:, None], chunk)  # (b, 1, n, c)
    q, k, v = (blocks(x, chunk) for x in (q, k, v))  # (b, h, n, c, width)
    phi_q, phi_k = features(q), _masked(features(k), mask)

    written = Memory((phi_k.mT @ v).to(sums), phi_k.sum(3, dtype=sums))  # by each chunk alone: (b, h, n, f, dv), (b, h, n, f)
    weights = _masked(features.kernel(q, k), mask, axis=-2)  # (b, h, n, c, c)
    if log_g is None:
        S, z = (torch.cat([start[:, :, None], x], dim=2).cumsum(2) for start, x in zip(memory, written, strict=True))  # (b, h, n + 1, ...)
        weights = weights.tril()
    else:
        log_g = blocks(log_g.to(sums), chunk)
        within = decay_sums(log_g)
        weights = weights * within.exp().to(dtype)
        left = within[..., -1, :].exp()  # of a pair at the end of its chunk
        written = Memory(((phi_k * left[..., None].to(dtype)).mT @ v).to(sums), (phi_k.to(sums) * left[..., None]).sum(3))
        totals = torch.cat([torch.zeros_like(log_g[:, :, :1, 0]), log_g.sum(-1)], dim=2)  # (b, h, n + 1)
        between = decay_sums(totals).exp()
        S, z = (torch.cat([start[:, :, None], x], dim=2) for start, x in zip(memory, written, strict=True))
        S, z = (between @ S.flatten(3)).unflatten(3, S.shape[3:]), between @ z
        phi_q = phi_q * log_g.cumsum(-1).exp()[..., None].to(dtype)  # what is left, at each query, of its chunk's first state

    y = weights @ v + phi_q @ S[:, :, :-1].to(dtype)
    if normalise:
        y = _normalised(y, weights.sum(-1, keepdim=True, dtype=sums) + phi_q.to(sums) @ z[:, :, :-1, :, None])
    return y.flatten(2, 3)[:, :, :t], Memory(S[:, :, -1], z[:, :, -1])


def linear_attention_step(
    memory: Memory,
    q: Float[Tensor, "b h d"],
    k: Float[Tensor, "b h d"],
    v: Float[Tensor, "b h dv"],
    log_g: Float[Tensor, "b h"] | None = None,
    *,
    features: FeatureMap = IDENTITY,
    normalise: bool = False,
) -> tuple[Float[Tensor, "b h dv"], Memory]:
    """One token of the recurrence."""
    phi_q, phi_k = (features(x).to(memory.S.dtype) for x in (q, k))
    S, z = memory
    if log_g is not None:
        g = log_g.to(S.dtype).exp()[..., None]
        S, z = g[..., None] * S, g * z
    S = S + phi_k[..., :, None] * v[..., None, :]
    z = z + phi_k
    y = (phi_q[..., None, :] @ S).squeeze(-2)
    if normalise:
        y = _normalised(y, (phi_q * z).sum(-1, keepdim=True))
    return y.to(v.dtype), Memory(S, z)


def prefix_linear_attention(
    q: Float[Tensor, "b h t d"],
    k: Float[Tensor, "b h t d"],
    v: Float[Tensor, "b h t dv"],
    prefix_k: Float[Tensor, "b h m d"],
    prefix_v: Float[Tensor, "b h m dv"],
    *,
    features: FeatureMap = IDENTITY,
    normalise: bool = True,
    mask: Bool[Tensor, "b t"] | None = None,
    prefix_mask: Bool[Tensor, "b m"] | None = None,
    chunk: int = 64,
) -> tuple[Float[Tensor, "b h t dv"], Memory]:
    """PLA: y_i reads sum_(j<=i) phi(k_j) v_j^T + sum_(j<=m) phi(k'_j) v'_j^T, k' and v' being the prefix's. Decoding goes on with ``linear_attention_step``."""
    memory = memorise(prefix_k, prefix_v, features, prefix_mask)
    return linear_attention(q, k, v, features=features, normalise=normalise, mask=mask, memory=memory, chunk=chunk)


def _masked(x: Tensor, mask: Tensor | None, axis: int = -1) -> Tensor:
    """``x`` with zeros where ``mask`` is False. ``axis`` is that of x which the mask does not have (features, or queries); heads are broadcast."""
    if mask is None:
        return x
    if mask.ndim == 2:
        mask = mask[:, None]
    return x * mask.unsqueeze(axis).to(x.dtype)


def _normalised(y: Tensor, weight: Tensor) -> Tensor:
    """y / weight, and y itself (0) where no pair has been seen."""
    return (y / weight.masked_fill(weight == 0, 1)).to(y.dtype)
