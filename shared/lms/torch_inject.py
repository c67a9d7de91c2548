"""What can be put on a transformer's way in torch: the modules of the methods that `jax_inject` (which lists the sites) has as functions.

model.inject(2, "q", LoRA(64, 64, rank=4, alpha=8, generator=generator))
add_lora(model, rank=4, alpha=8, generator=generator)         # on q and v of every layer
tuned = [p for name, p in model.named_parameters() if ".injected." in name]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from shared.lms.torch_model import Transformer


class LoRA(nn.Module):
    """W x + (alpha / rank) B A x, B zero at first (Hu et al. 2022)."""

    def __init__(self, into: int, out: int, rank: int, alpha: float, generator: Generator):
        super().__init__()
        self.a = nn.Parameter(torch.randn(rank, into, generator=generator) / math.sqrt(into))
        self.b = nn.Parameter(torch.zeros(out, rank))
        self.scale = alpha / rank

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        return value + self.scale * F.linear(F.linear(source, self.a), self.b)


class Adapter(nn.Module):
    """y + U gelu(D y + d) + u on a sublayer's output y, U and the biases zero at first (Houlsby et al. 2019)."""

    def __init__(self, width: int, bottleneck: int, generator: Generator):
        super().__init__()
        self.down = nn.Parameter(torch.randn(bottleneck, width, generator=generator) / math.sqrt(width))
        self.down_bias = nn.Parameter(torch.zeros(bottleneck))
        self.up = nn.Parameter(torch.zeros(width, bottleneck))
        self.up_bias = nn.Parameter(torch.zeros(width))

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        return value + F.linear(F.gelu(F.linear(value, self.down, self.down_bias)), self.up, self.up_bias)


class Prefix(nn.Module):
    """Keys and values (kv_heads, length, head_width) that every query sees before those of the text (Li and Liang 2021)."""

    def __init__(self, k: Float[Tensor, "heads length head_width"], v: Float[Tensor, "heads length head_width"]):
        super().__init__()
        self.k, self.v = nn.Parameter(k), nn.Parameter(v)

    def forward(self, value: tuple[Tensor, Tensor], source: Tensor) -> tuple[Tensor, Tensor]:
        k, v = (torch.cat([own.expand(*given.shape[:-3], *own.shape), given], dim=-2) for own, given in zip((self.k, self.v), value, strict=True))
        return k, v


class Steering(nn.Module):
    """Add a vector to the residual stream at every position."""

    def __init__(self, vector: Float[Tensor, "*batch width"]):
        super().__init__()
        self.register_buffer("vector", vector)

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        return value + self.vector


class InputNoise(nn.Module):
    """Uniform noise of scale alpha / sqrt(length width) on the token vectors while training (NEFTune, Jain et al. 2024)."""

    def __init__(self, alpha: float, generator: Generator):
        super().__init__()
        self.alpha, self.generator = alpha, generator

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        if not self.training:
            return value
        noise = 2 * torch.rand(value.shape, generator=self.generator, device=value.device, dtype=value.dtype) - 1
        return value + self.alpha / math.sqrt(value.shape[-2] * value.shape[-1]) * noise


def add_lora(model: Transformer, rank: int, alpha: float, generator: Generator, sites: Sequence[str] = ("q", "v"), layers: Iterable[int] | None = None) -> None:
    """LoRA on the chosen linear maps."""
    for layer in range(model.config.layers) if layers is None else layers:
        for site in sites:
            matrix = getattr(model.layers[layer], site)
            model.inject(layer, site, LoRA(matrix.in_features, matrix.out_features, rank, alpha, generator))


def add_adapters(
    model: Transformer, bottleneck: int, generator: Generator, sites: Sequence[str] = ("after_attention", "after_ffn"), layers: Iterable[int] | None = None
) -> None:
    """Adapters on the sublayers' outputs."""
    for layer in range(model.config.layers) if layers is None else layers:
        for site in sites:
            model.inject(layer, site, Adapter(model.config.width, bottleneck, generator))


def add_prefix(model: Transformer, length: int, generator: Generator, layers: Iterable[int] | None = None) -> None:
    """A prefix of ``length`` keys and values, from Normal(0, 0.02), for every head."""
    for layer in range(model.config.layers) if layers is None else layers:
        k, v = 0.02 * torch.randn(2, model.config.kv_heads, length, model.config.head_width, generator=generator)
        model.inject(layer, "prefix", Prefix(k.clone(), v.clone()))
