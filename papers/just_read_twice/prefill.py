"""Prefill: reading a prompt of N tokens at once, which leaves a state that decoding goes on from.

    softmax      softmax attention: time N^2, and the state is the list of all keys and values
    based        causal linear attention: time N, and a state of fixed size
    jrt_prompt   the same, on the prompt written twice: 2 N tokens
    jrt_rnn      prefix linear attention: N tokens read causally, and a prefix of N/2 that sets the state they start from

Linear attention is read chunk by chunk with the state at hand (C tokens at a time, Q, K, V being those of the chunk):

    y = tril(1 + s + s^2 / 2) V + phi(Q) S,  s = Q K^T / sqrt(d)       and then  S <- S + phi(K)^T V
    z likewise with ones for V; y is divided by the same with z when normalised. A prefix only does the second step.

`shared/sequence` has the same thing in a form for training, with the states of all chunks at once; here they are never together in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from shared.sequence.linear import Memory, empty_memory
from shared.sequence.softmax import Cache, softmax_attention

METHODS = ("softmax", "based", "jrt_prompt", "jrt_rnn")


@dataclass(frozen=True)
class RolledTaylor:
    """Second-order Taylor features whose products are taken by rolling x, for inference only (no gradients).

    phi(x) = [1, x', c_r x' * roll(x', -r) for r = 0..d/2] with x' = x / d^(1/4): each product x'_i x'_j with i != j occurs once, at r = j - i modulo d, but for
    r = d/2 (d even), where it occurs twice. So c_r = 2^(-1/2) at r = 0 and r = d/2, else 1. The rolls are views of one doubled x, so that the features are
    one product of contiguous rows: 161 of them for d = 16, where the smallest number is 153.
    """

    def __call__(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... f"]:
        d = x.shape[-1]
        rolls = d // 2 + 1
        phi = x.new_empty(*x.shape[:-1], 1 + d + rolls * d)
        one, linear, products = phi.split([1, d, rolls * d], dim=-1)
        one.fill_(1)
        torch.mul(x, d**-0.25, out=linear)
        rolled = torch.cat([linear, linear[..., : d // 2]], dim=-1).unfold(-1, d, 1)  # (..., rolls, d)
        products = products.unflatten(-1, (rolls, d))
        torch.mul(linear[..., None, :], rolled, out=products)
        products[..., 0, :].mul_(2**-0.5)
        if d % 2 == 0:
            products[..., -1, :].mul_(2**-0.5)
        return phi

    def kernel(self, q: Float[Tensor, "... t d"], k: Float[Tensor, "... s d"]) -> Float[Tensor, "... t s"]:
        """1 + s + s^2 / 2 = ((s + 1)^2 + 1) / 2"""
        s = (q * q.shape[-1] ** -0.5) @ k.mT
        return s.add_(1).square_().add_(1).mul_(0.5)


FEATURES = RolledTaylor()


class Workload(NamedTuple):
    """A prompt as the layer's kernels see it. Softmax attention has queries and keys as wide as the values, linear attention of width d."""

    q: Float[Tensor, "b h n d"]
    k: Float[Tensor, "b h n d"]
    v: Float[Tensor, "b h n dv"]
    prefix_k: Float[Tensor, "b h n/2 d"]
    prefix_v: Float[Tensor, "b h n/2 dv"]
    wide_q: Float[Tensor, "b h n dv"]
    wide_k: Float[Tensor, "b h n dv"]

    def twice(self) -> Workload:
        """The prompt, written twice, of linear attention."""
        q, k, v = (torch.cat([x, x], dim=2) for x in (self.q, self.k, self.v))
        return self._replace(q=q, k=k, v=v)


def draw_workload(generator: torch.Generator, B: int, H: int, N: int, d: int, dv: int, dtype: torch.dtype) -> Workload:
    """Inputs of the official benchmark script: normal, queries and keys divided by 16, values by 64. Drawn on the generator's device."""

    def normal(n: int, width: int) -> Tensor:
        return torch.randn(B, H, n, width, generator=generator, device=generator.device).to(dtype)

    q, k, prefix_k = (normal(n, d) / 16 for n in (N, N, N // 2))
    v, prefix_v = (normal(n, dv) / 64 for n in (N, N // 2))
    wide_q, wide_k = (normal(N, dv) / 16 for _ in range(2))
    return Workload(q, k, v, prefix_k, prefix_v, wide_q, wide_k)


def read_prefix(memory: Memory, k: Float[Tensor, "b h m d"], v: Float[Tensor, "b h m dv"], chunk: int = 128) -> Memory:
    """The state after m more pairs; ``memory`` is written over."""
    S, z = (x.flatten(0, 1) for x in memory)
    for k_c, v_c in chunks(chunk, k, v):
        memorise(S, z, FEATURES(k_c), v_c)
    return memory


def read_chunk(
    S: Float[Tensor, "bh f dv"],
    z: Float[Tensor, "bh f"],
    y: Float[Tensor, "bh c dv"],
    q: Float[Tensor, "bh c d"],
    k: Float[Tensor, "bh c d"],
    v: Float[Tensor, "bh c dv"],
    normalise: bool,
) -> None:
    """One chunk of causal linear attention: writes its outputs into y and its pairs into S and z."""
    phi_q, phi_k = FEATURES(q), FEATURES(k)
    weights = FEATURES.kernel(q, k).tril_()  # (bh, c, c)
    torch.baddbmm(weights @ v, phi_q, S.to(v.dtype), out=y)
    if normalise:
        y.div_(weights.sum(-1, keepdim=True, dtype=z.dtype) + phi_q.to(z.dtype) @ z[..., None])
    memorise(S, z, phi_k, v)


def read_causally(
    memory: Memory,
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    v: Float[Tensor, "b h n dv"],
    normalise: bool,
    chunk: int = 128,
    read: Callable[..., None] = read_chunk,
) -> tuple[Float[Tensor, "b h n dv"], Memory]:
    """Outputs of causal linear attention that starts from ``memory``, which is written over, and the state at the end."""
    S, z = (x.flatten(0, 1) for x in memory)
    y = torch.empty_like(v)
    for y_c, q_c, k_c, v_c in chunks(chunk, y, q, k, v):
        read(S, z, y_c, q_c, k_c, v_c, normalise)
    return y, memory


def memorise(S: Float[Tensor, "bh f dv"], z: Float[Tensor, "bh f"], phi_k: Float[Tensor, "bh c f"], v: Float[Tensor, "bh c dv"]) -> None:
    """S <- S + phi(K)^T V,  z <- z + phi(K)^T 1, in place and in the precision of the state."""
    S.add_(phi_k.mT @ v)
    z.add_(phi_k.sum(1, dtype=z.dtype))


def chunks(size: int, *inputs: Float[Tensor, "b h n width"]) -> Iterator[tuple[Float[Tensor, "bh c width"], ...]]:
    """Views of the inputs, ``size`` tokens at a time, batch and heads in one axis."""
    return zip(*(x.flatten(0, 1).split(size, dim=1) for x in inputs), strict=True)


def read_in_chunks(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    v: Float[Tensor, "b h n dv"],
    prefix_k: Float[Tensor, "b h m d"] | None = None,
    prefix_v: Float[Tensor, "b h m dv"] | None = None,
    *,
    normalise: bool = False,
    read: Callable[..., None] = read_chunk,
) -> tuple[Float[Tensor, "b h n dv"], Memory]:
    """A prompt, after its prefix if there is one, in torch's operations. ``read`` takes the place of `read_chunk`: the same function, compiled."""
    memory = empty_memory(k, v, FEATURES)
    if prefix_k is not None:
        memory = read_prefix(memory, prefix_k, prefix_v)
    return read_causally(memory, q, k, v, normalise, read=read)


@torch.inference_mode()
def prefill(
    method: str, work: Workload, normalise: bool = False, read: Callable[..., tuple[Tensor, Memory]] = read_in_chunks
) -> tuple[Float[Tensor, "b h n dv"], Memory | Cache]:
    """Outputs for the whole prompt, and the state to decode from. For ``jrt_prompt`` the workload is one written twice already.

    ``read`` is `read_in_chunks` or does the same (`fused.read_fused`).
    """
    if method == "softmax":
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # this kernel or an error: cuDNN's and the others are out
            return softmax_attention(work.wide_q, work.wide_k, work.v)
    prefix = (work.prefix_k, work.prefix_v) if method == "jrt_rnn" else ()
    return read(work.q, work.k, work.v, *prefix, normalise=normalise)


def operations(method: str, B: int, H: int, N: int, d: int, dv: int) -> float:
    """A lower bound on the floating-point operations of a prefill: two for each multiply-add that no implementation of the method can leave out.

    Softmax attention multiplies N^2 / 2 pairs twice; linear attention reads from and writes to a state of 1 + d + d (d + 1) / 2 rows for every token.
    """
    if method == "softmax":
        return 2 * B * H * N**2 / 2 * (dv + dv)
    rows = 1 + d + d * (d + 1) // 2
    passes = {"based": 2 * N, "jrt_prompt": 4 * N, "jrt_rnn": 2 * N + N // 2}[method]
    return 2 * B * H * passes * rows * dv
