"""Generators of recall problems (ours, in the spirit of the paper's Section 5, whose settings we did not find). All in float64.

In ``Tasks`` every position t holds a pair to be memorised and a query to be answered from the pairs up to t, with its noise-free answer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from papers.test_time_regression.model import unit


class Tasks(NamedTuple):
    """b problems with one head."""

    q: Float[Tensor, "b 1 t d"]
    k: Float[Tensor, "b 1 t d"]
    v: Float[Tensor, "b 1 t e"]
    target: Float[Tensor, "b 1 t e"]

    def to(self, device: str) -> Tasks:
        return Tasks(*(x.to(device) for x in self))


def normal(gen: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


def correlated_keys(gen: Generator, b: int, t: int, d: int, rho: float) -> Float[Tensor, "b 1 t d"]:
    """k ~ N(0, Sigma), Sigma_ij = rho^|i-j|."""
    i = torch.arange(d, dtype=torch.float64)
    return normal(gen, b, 1, t, d) @ torch.linalg.cholesky(rho ** (i[:, None] - i).abs()).T


def linear_recall(gen: Generator, b: int, t: int, d: int, rho: float, sigma: float) -> Tasks:
    """G1: v = A k + sigma noise, A ~ N(0, 1/d); the query is a fresh key."""
    A = normal(gen, b, 1, d, d) / d**0.5
    k, q = correlated_keys(gen, b, t, d, rho), correlated_keys(gen, b, t, d, rho)
    return Tasks(q, k, k @ A + sigma * normal(gen, *k.shape), q @ A)


def exact_recall(gen: Generator, b: int, t: int, d: int) -> Tasks:
    """G2: random unit keys with unrelated values; the query is one of the keys so far."""
    k, v = unit(normal(gen, b, 1, t, d)), normal(gen, b, 1, t, d)
    asked = (torch.rand(b, 1, t, generator=gen) * torch.arange(1, t + 1)).long()[..., None]
    return Tasks(k.take_along_dim(asked, 2), k, v, v.take_along_dim(asked, 2))


def switching_recall(gen: Generator, b: int, t: int, d: int, sigma: float) -> Tasks:
    """G3: G1 with uncorrelated keys, but a new A from t / 2 on; answers are those of the A of the moment."""
    parts = [linear_recall(gen, b, t // 2, d, 0.0, sigma) for _ in range(2)]
    return Tasks(*(torch.cat(x, dim=2) for x in zip(*parts, strict=True)))


class Waves(NamedTuple):
    """A smooth map of d coordinates to e values, v_j = sin(3 w_j . k + phase_j) with unit w_j."""

    w: Float[Tensor, "b 1 d e"]
    phase: Float[Tensor, "b 1 1 e"]

    @classmethod
    def draw(cls, gen: Generator, b: int, d: int, e: int) -> Waves:
        return cls(unit(normal(gen, b, 1, e, d)).mT, 2 * torch.pi * torch.rand(b, 1, 1, e, generator=gen, dtype=torch.float64))

    def __call__(self, k: Float[Tensor, "b 1 t d"]) -> Float[Tensor, "b 1 t e"]:
        return torch.sin(3 * k @ self.w + self.phase)


def smooth_recall(gen: Generator, b: int, t: int, d: int, e: int, sigma: float, domain: str, norm_spread: float = 0.0) -> Tasks:
    """G4: a smooth map of keys uniform on the cube [0, 1]^d or on the unit sphere. G5: on the sphere, what is stored are keys of log-normal norm.

    The map depends on the direction alone, and queries are unit vectors.
    """
    f = Waves.draw(gen, b, d, e)
    if domain == "cube":
        k, q = torch.rand(2, b, 1, t, d, generator=gen, dtype=torch.float64)
    else:
        k, q = unit(normal(gen, 2, b, 1, t, d))
    v = f(k) + sigma * normal(gen, b, 1, t, e)
    return Tasks(q, k * (norm_spread * normal(gen, b, 1, t, 1)).exp(), v, f(q))


class Streams(NamedTuple):
    """G6, multi-query recall: k1 v1 ... kn vn, then the keys again in another order."""

    tokens: Int[Tensor, "b 3n"]
    answers: Int[Tensor, "b n"]
    """The value of each queried key."""


def multi_query_streams(gen: Generator, b: int, n: int, vocabulary: int) -> Streams:
    """Keys are different tokens of the first half of the vocabulary, values any of the second half."""
    half = vocabulary // 2
    keys = torch.rand(b, half, generator=gen, device=gen.device).argsort(1)[:, :n]
    values = half + torch.randint(half, (b, n), generator=gen, device=gen.device)
    order = torch.rand(b, n, generator=gen, device=gen.device).argsort(1)
    pairs = torch.stack([keys, values], dim=2).flatten(1)
    return Streams(torch.cat([pairs, keys.gather(1, order)], dim=1), values.gather(1, order))


def codes(gen: Generator, vocabulary: int, d: int) -> Float[Tensor, "w d"]:
    """One random unit vector for each token."""
    return unit(normal(gen, vocabulary, d))


def repeated_bigrams(tokens: Int[Tensor, "b t"]) -> Tensor:
    """(b, t - 1): whether the pair (x_t, x_(t+1)) has occurred among the pairs before it."""
    same = (tokens[:, :-1, None] == tokens[:, None, :-1]) & (tokens[:, 1:, None] == tokens[:, None, 1:])
    return same.tril(-1).any(2)


def most_frequent_successor(tokens: Int[Tensor, "b t"], vocabulary: int) -> Int[Tensor, "b s"]:
    """(b, t - 1): the token that followed x_t most often before t, by counting; ties go to the smallest token."""
    one_hot = torch.nn.functional.one_hot(tokens, vocabulary)
    before = (tokens[:, :-1, None] == tokens[:, None, :-1]).tril(-1)
    return (before.long() @ one_hot[:, 1:]).argmax(-1)
