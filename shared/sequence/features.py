"""Feature maps phi of linear attention: phi(q) . phi(k) is the kernel that the mixer computes with.

A map also knows its kernel matrix for whole blocks of queries and keys, which is cheaper than multiplying long features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class FeatureMap(Protocol):
    """What a mixer asks of a feature map."""

    def __call__(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... f"]:
        """phi(x)."""
        ...

    def kernel(self, q: Float[Tensor, "... t d"], k: Float[Tensor, "... s d"]) -> Float[Tensor, "... t s"]:
        """phi(q_i) . phi(k_j) for all pairs."""
        ...


@dataclass(frozen=True)
class Identity:
    """phi(x) = x."""

    def __call__(self, x):
        return x

    def kernel(self, q, k):
        return q @ k.mT


@dataclass(frozen=True)
class PositiveElu:
    """phi(x) = elu(x) + 1 (Katharopoulos et al., 2020)."""

    def __call__(self, x):
        return F.elu(x) + 1

    def kernel(self, q, k):
        return self(q) @ self(k).mT


@dataclass(frozen=True)
class Taylor:
    """Second-order Taylor map of exp(s), s = scale q . k (Arora et al., 2024, Based): phi(q) . phi(k) = 1 + s + s^2 / 2, which is at least 1/2.

    phi(x) = [1, scale^(1/2) x, scale 2^(-1/2) vec(x x^T)]. Of the symmetric x x^T only one triangle is kept, off-diagonal entries times sqrt(2),
    so that there are 1 + d + d (d + 1) / 2 features; ``packed=False`` keeps all 1 + d + d^2, as the papers count them.
    """

    scale: float | None = None
    """Factor of the dot product; None = 1 / sqrt(d)."""
    packed: bool = True

    def __call__(self, x):
        d = x.shape[-1]
        scale = self._scale(d)
        x = x * math.sqrt(scale)
        one = torch.ones_like(x[..., :1])
        if not self.packed:
            return torch.cat([one, x, (x[..., :, None] * x[..., None, :]).flatten(-2) / math.sqrt(2)], dim=-1)
        row, column = torch.triu_indices(d, d, offset=1, device=x.device)
        return torch.cat([one, x, x**2 / math.sqrt(2), x[..., row] * x[..., column]], dim=-1)

    def kernel(self, q, k):
        s = self._scale(q.shape[-1]) * (q @ k.mT)
        return 1 + s + s**2 / 2

    def size(self, d: int) -> int:
        """Number of features f of inputs of width d."""
        return 1 + d + (d * (d + 1) // 2 if self.packed else d**2)

    def _scale(self, d: int) -> float:
        return d**-0.5 if self.scale is None else self.scale
