"""Prefix linear attention with Taylor features as one Triton kernel, for CUDA: a prompt is read in one launch and the state never leaves the chip.

A program reads the whole prompt for one head and ``TILE`` of the value's channels, C tokens at a time, first the prefix, then the prompt. In registers it keeps

    S_0 = sum v,   S_1 = sum k' v^T,   S_2 = sum vec(k' k'^T) v^T,   k' = k / d^(1/4),

d^2 products where d (d + 1) / 2 would do, because whole powers of two are what tensor cores multiply, and writes

    y = tril(1 + s + s^2 / 2) V + S_0 + q'^T S_1 + vec(q' q'^T)^T S_2 / 2.

Triton comes with torch on Linux machines with CUDA; elsewhere this module cannot be imported. With TRITON_INTERPRET=1 in the environment the kernel runs
without a GPU, slowly.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from shared.sequence.linear import Memory

CHUNK, TILE = 64, 16


@triton.jit
def _memorise(S_0, S_1, S_2, z_0, z_1, z_2, k, v, present, D: tl.constexpr, C: tl.constexpr, NORMALISE: tl.constexpr):
    """The state after the pairs of a chunk. k is scaled; absent rows of k and v are 0."""
    products = tl.reshape(k[:, :, None] * k[:, None, :], (C, D * D))
    wide_v = v.to(tl.float32)
    S_0 += tl.sum(wide_v, 0)
    S_1 += tl.dot(tl.trans(k), v, input_precision="ieee")
    S_2 += tl.dot(tl.trans(products), v, input_precision="ieee")
    if NORMALISE:
        z_0 += tl.sum(present.to(tl.float32), 0)
        z_1 += tl.sum(k.to(tl.float32), 0)
        z_2 += tl.sum(products.to(tl.float32), 0)
    return S_0, S_1, S_2, z_0, z_1, z_2


@triton.jit
def _read(
    q_start, k_start, v_start, y_start, prefix_k_start, prefix_v_start, S_start, z_start, N, M, scale,
    D: tl.constexpr, DV: tl.constexpr, C: tl.constexpr, TILE: tl.constexpr, NORMALISE: tl.constexpr,
):  # fmt: skip
    head, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    t, i, channel = tl.arange(0, C), tl.arange(0, D), tile * TILE + tl.arange(0, TILE)
    S_0 = tl.zeros((TILE,), tl.float32)
    S_1 = tl.zeros((D, TILE), tl.float32)
    S_2 = tl.zeros((D * D, TILE), tl.float32)
    z_0 = tl.zeros((1,), tl.float32).sum(0)
    z_1 = tl.zeros((D,), tl.float32)
    z_2 = tl.zeros((D * D,), tl.float32)

    for begin in range(0, M, C):
        rows = begin + t
        present = rows < M
        k = tl.load(prefix_k_start + (head * M + rows[:, None]) * D + i[None, :], mask=present[:, None], other=0.0)
        v = tl.load(prefix_v_start + (head * M + rows[:, None]) * DV + channel[None, :], mask=present[:, None], other=0.0)
        k = (k.to(tl.float32) * scale).to(v.dtype)
        S_0, S_1, S_2, z_0, z_1, z_2 = _memorise(S_0, S_1, S_2, z_0, z_1, z_2, k, v, present, D, C, NORMALISE)

    for begin in range(0, N, C):
        rows = begin + t
        present = rows < N
        q = tl.load(q_start + (head * N + rows[:, None]) * D + i[None, :], mask=present[:, None], other=0.0)
        k = tl.load(k_start + (head * N + rows[:, None]) * D + i[None, :], mask=present[:, None], other=0.0)
        v = tl.load(v_start + (head * N + rows[:, None]) * DV + channel[None, :], mask=present[:, None], other=0.0)
        q = (q.to(tl.float32) * scale).to(v.dtype)
        k = (k.to(tl.float32) * scale).to(v.dtype)
        s = tl.dot(q, tl.trans(k), input_precision="ieee") + 1.0
        weights = tl.where(t[:, None] >= t[None, :], (s * s + 1.0) * 0.5, 0.0)
        products = tl.reshape(q[:, :, None] * q[:, None, :], (C, D * D))
        y = tl.dot(weights.to(v.dtype), v, input_precision="ieee") + S_0[None, :]
        y += tl.dot(q, S_1.to(v.dtype), input_precision="ieee")
        y += 0.5 * tl.dot(products, S_2.to(v.dtype), input_precision="ieee")
        if NORMALISE:
            z = tl.sum(weights, 1) + z_0 + tl.sum(q.to(tl.float32) * z_1[None, :], 1) + 0.5 * tl.sum(products.to(tl.float32) * z_2[None, :], 1)
            y = y / z[:, None]
        tl.store(y_start + (head * N + rows[:, None]) * DV + channel[None, :], y.to(v.dtype), mask=present[:, None])
        S_0, S_1, S_2, z_0, z_1, z_2 = _memorise(S_0, S_1, S_2, z_0, z_1, z_2, k, v, present, D, C, NORMALISE)

    rows_of_state = S_start + head * (1 + D + D * D) * DV
    tl.store(rows_of_state + channel, S_0)
    tl.store(rows_of_state + (1 + i[:, None]) * DV + channel[None, :], S_1)
    ij = tl.arange(0, D * D)
    tl.store(rows_of_state + (1 + D + ij[:, None]) * DV + channel[None, :], S_2)
    if NORMALISE and tile == 0:
        z_rows = z_start + head * (1 + D + D * D)
        tl.store(z_rows, z_0)
        tl.store(z_rows + 1 + i, z_1)
        tl.store(z_rows + 1 + D + ij, z_2)


def read_fused(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    v: Float[Tensor, "b h n dv"],
    prefix_k: Float[Tensor, "b h m d"] | None = None,
    prefix_v: Float[Tensor, "b h m dv"] | None = None,
    normalise: bool = False,
) -> tuple[Float[Tensor, "b h n dv"], Memory]:
    """Outputs, and the state in the layout [1, k', vec(k' k'^T) / sqrt(2)] of its 1 + d + d^2 features (z only where ``normalise``, else 0).

    d is 16 or a larger power of two, dv a multiple of 16. Products are taken in the inputs' precision and summed in float32.
    """
    B, H, N, D = q.shape
    DV = v.shape[-1]
    if D < 16 or D & (D - 1) or DV % TILE:
        raise ValueError(f"the fused kernel wants queries of width 16 or a larger power of two and values of a multiple of {TILE}, not {D} and {DV}")
    prefix_k = k.new_empty(B, H, 0, D) if prefix_k is None else prefix_k
    prefix_v = v.new_empty(B, H, 0, DV) if prefix_v is None else prefix_v
    q, k, v, prefix_k, prefix_v = (x.contiguous() for x in (q, k, v, prefix_k, prefix_v))
    y = torch.empty_like(v)
    S = torch.empty(B, H, 1 + D + D * D, DV, dtype=torch.float32, device=v.device)
    z = torch.zeros(B, H, 1 + D + D * D, dtype=torch.float32, device=v.device)
    _read[(B * H, DV // TILE)](q, k, v, y, prefix_k, prefix_v, S, z, N, prefix_k.shape[2], D**-0.25, D, DV, CHUNK, TILE, normalise)
    S[:, :, 1 + D :] *= 2**-0.5
    z[:, :, 1 + D :] *= 2**-0.5
    return y, Memory(S, z)
