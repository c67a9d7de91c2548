"""The delta rule: a memory that writes what it does not predict yet.

    S_t = g_t S_(t-1) + k_t u_t^T,    u_t = b_t (v_t - g_t S_(t-1)^T k_t),    y_t = S_t^T q_t

which is S_t = g_t (I - b_t k_t k_t^T) S_(t-1) + b_t k_t v_t^T: one step of size b_t on |v_t - S^T k_t|^2 / 2. g = 1 is DeltaNet (Schlag et al., 2021; Yang
et al., 2024), g_t <= 1 gated DeltaNet (Yang, Kautz and Hatamizadeh, 2025). Stable for b_t |k_t|^2 in [0, 2]; keys are normalised by the caller.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from shared.sequence.recurrence import blocks, decay_sums, wide


def delta_rule(
    q: Float[Tensor, "b h t dk"],
    k: Float[Tensor, "b h t dk"],
    v: Float[Tensor, "b h t dv"],
    b: Float[Tensor, "b h t"],
    log_g: Float[Tensor, "b h t"] | None = None,
    *,
    S: Float[Tensor, "b h dk dv"] | None = None,
    chunk: int = 64,
) -> tuple[Float[Tensor, "b h t dv"], Float[Tensor, "b h dk dv"]]:
    """Parallel inside chunks of time, sequential over them.

    With D_ij the decay from j to i and d_i that from the start of the chunk, the writes of a chunk that starts at S solve a triangular system,

        (I + diag(b) tril(D * K K^T, -1)) U = diag(b) (V - diag(d) K S),    y = diag(d) Q S + tril(D * Q K^T) U,

    of which the inverse is applied to V and K for all chunks at once.

    Parameters
    ----------
    b : step sizes.
    log_g : logarithm of the gates, finite; None = no decay.
    S : state to continue from; None = zeros.
    chunk : block length; the result does not depend on it.
    """
    t, dtype, sums = q.shape[2], v.dtype, wide(v.dtype)
    if log_g is None:
        log_g = torch.zeros_like(b)
    q, k, v, b, log_g = (blocks(x.to(sums), chunk) for x in (q, k, v, b, log_g))  # what fills the last block has b = 0: it writes nothing
    decay = decay_sums(log_g).exp()  # D: (b, h, n, c, c)
    decayed = log_g.cumsum(-1).exp()[..., None]  # d: (b, h, n, c, 1)
    b = b[..., None]
    system = b * decay * (k @ k.mT)  # read below the diagonal only, which is implied to be 1
    fresh, from_state = torch.linalg.solve_triangular(system, torch.cat([b * v, b * decayed * k], dim=-1), upper=False, unitriangular=True).split(
        [v.shape[-1], k.shape[-1]], dim=-1
    )
    weights = decay * (q @ k.mT)
    q = decayed * q
    k = decay[..., -1, :, None] * k  # what is left of a write at the end of its chunk
    if S is None:
        S = k.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1])
    outputs = []
    for n in range(q.shape[2]):
        U = fresh[:, :, n] - from_state[:, :, n] @ S  # (b, h, c, dv)
        outputs.append(q[:, :, n] @ S + weights[:, :, n] @ U)
        S = decayed[:, :, n, -1:] * S + k[:, :, n].mT @ U
    return torch.cat(outputs, dim=2)[:, :, :t].to(dtype), S


def delta_rule_step(
    S: Float[Tensor, "b h dk dv"],
    q: Float[Tensor, "b h dk"],
    k: Float[Tensor, "b h dk"],
    v: Float[Tensor, "b h dv"],
    b: Float[Tensor, "b h"],
    log_g: Float[Tensor, "b h"] | None = None,
) -> tuple[Float[Tensor, "b h dv"], Float[Tensor, "b h dk dv"]]:
    """One token of the recurrence."""
    q, k, target = (x.to(S.dtype) for x in (q, k, v))
    if log_g is not None:
        S = S * log_g.to(S.dtype).exp()[..., None, None]
    u = b[..., None].to(S.dtype) * (target - (k[..., None, :] @ S).squeeze(-2))
    S = S + k[..., :, None] * u[..., None, :]
    return (q[..., None, :] @ S).squeeze(-2).to(v.dtype), S
