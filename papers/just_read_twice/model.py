"""The model of the synthetic experiment: gated convolutions and Based linear attention, causal, non-causal, or with a prefix (JRT-RNN).

Based attention has the features phi(x) = [1, x / d^(1/4), vec(x x^T) / (sqrt(2) d^(1/2))], so that phi(q) . phi(k) = 1 + s + s^2 / 2 with s = q . k / sqrt(d):

    causal       y_i = phi(q_i) sum_(j<=i) phi(k_j)^T v_j / phi(q_i) sum_(j<=i) phi(k_j)
    noncausal    both sums over all j
    prefix       to both causal sums is added the sum over the prefix j <= M, with keys and values of its own projections (prefix linear attention)

Prompts are short here, so the sums are taken as attention takes them, with all pairs of weights phi(q_i) . phi(k_j) at once; the tests hold this against the
chunked and the recurrent mixers of `shared/sequence`. `prefill.py` is the form for long prompts.

Symbols: b batch, t time, h heads, d width of queries and keys (the feature dimension), M length of the prefix.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from shared.sequence.features import Taylor

KINDS = ("causal", "noncausal", "prefix")
FEATURES = Taylor(packed=False)
"""phi with all 1 + d + d^2 entries, as the paper counts them."""


class BaseConv(nn.Module):
    """Gated convolution, y = conv3(u) * (W u + b) + u, with one kernel of length 3 for each channel."""

    def __init__(self, width: int, kind: str):
        super().__init__()
        self.circular = kind == "noncausal"
        self.kernel = nn.Parameter(torch.empty(3, width).uniform_(-1, 1) / math.sqrt(3))
        self.bias = nn.Parameter(torch.zeros(width))
        self.gate = nn.Linear(width, width)

    def forward(self, u: Float[Tensor, "b t width"], mask: Bool[Tensor, "b t"] | None = None) -> Float[Tensor, "b t width"]:
        """Causal: the two tokens before the first are zeros, or, circular, the last two. Padding (``mask`` False) is read as zeros too."""
        if mask is not None:
            u = u * mask[..., None]
        before = u[:, -2:] if self.circular else torch.zeros_like(u[:, :2])
        padded = torch.cat([before, u], dim=1)  # (b, t + 2, width)
        convolved = self.bias + sum(self.kernel[i] * padded[:, i : i + u.shape[1]] for i in range(3))
        return convolved * self.gate(u) + u


class Based(nn.Module):
    """Linear attention with Taylor features; ``kind`` says which tokens a query reads."""

    def __init__(self, width: int, heads: int, d: int, kind: str):
        super().__init__()
        self.heads, self.kind = heads, kind
        self.q, self.k = (nn.Linear(width, heads * d, bias=False) for _ in range(2))
        self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(2))
        if kind == "prefix":
            self.prefix_k, self.prefix_v = nn.Linear(width, heads * d, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, u: Float[Tensor, "b t width"], mask: Bool[Tensor, "b t"] | None = None, M: int | None = None) -> Float[Tensor, "b t width"]:
        """``mask`` is False on padding; ``M`` (None = all) tokens are the prefix, padding included."""
        q, k, v = (self._heads(project, u) for project in (self.q, self.k, self.v))
        weights = _without(FEATURES.kernel(q, k), mask)
        if self.kind != "noncausal":
            weights = weights.tril()
        if self.kind == "prefix":
            prefix_k, prefix_v = self._heads(self.prefix_k, u[:, :M]), self._heads(self.prefix_v, u[:, :M])
            prefix_weights = _without(FEATURES.kernel(q, prefix_k), None if mask is None else mask[:, :M])
            weights, v = torch.cat([weights, prefix_weights], dim=-1), torch.cat([v, prefix_v], dim=2)
        y = weights @ v / weights.sum(-1, keepdim=True).clamp(min=0.5)  # a weight is at least 1/2: only padding, which may see nothing, is clamped
        return self.out(y.transpose(1, 2).flatten(2))

    def _heads(self, project: nn.Linear, u: Tensor) -> Float[Tensor, "b h t d"]:
        return project(u).unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Pre-norm residual block: a sequence mixer, then an MLP of ``mlp_factor`` times the width (0 = none)."""

    def __init__(self, mixer: nn.Module, width: int, mlp_factor: int):
        super().__init__()
        self.mixer, self.mixer_norm = mixer, nn.LayerNorm(width)
        hidden = mlp_factor * width
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)) if mlp_factor else None

    def forward(self, x: Float[Tensor, "b t width"], **reading) -> Float[Tensor, "b t width"]:
        x = x + self.mixer(self.mixer_norm(x), **reading)
        return x if self.mlp is None else x + self.mlp(x)


class Network(nn.Module):
    """BaseConv and Based layers in turn, without positions; the read-out shares the token table. Its logits are those after the last token."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, d: int, kind: str, mlp_factor: int = 4):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is none of {KINDS}")
        self.tokens = nn.Embedding(vocabulary, width)
        mixers = [Based(width, heads, d, kind) if i % 2 else BaseConv(width, kind) for i in range(layers)]
        self.layers = nn.ModuleList(Layer(mixer, width, mlp_factor) for mixer in mixers)
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=width**-0.5)

    def hidden(self, tokens: Int[Tensor, "b t"], mask: Bool[Tensor, "b t"] | None = None) -> Float[Tensor, "b t width"]:
        """The last layer's output at every position; ``mask`` is False on padding."""
        x = self.tokens(tokens)
        for layer in self.layers:
            x = layer(x, mask=mask)
        return self.norm(x)

    def forward(self, tokens: Int[Tensor, "b t"], mask: Bool[Tensor, "b t"] | None = None) -> Float[Tensor, "b vocabulary"]:
        return F.linear(self.hidden(tokens, mask)[:, -1], self.tokens.weight)


def state_bytes(width: int, heads: int, d: int, layers: int) -> int:
    """Size in float32 of what the Based layers (every second one) remember: heads (1 + d + d^2)(width / heads + 1) x layers / 2 x 4."""
    return heads * FEATURES.size(d) * (width // heads + 1) * (layers // 2) * 4


def _without(weights: Float[Tensor, "b h t s"], mask: Bool[Tensor, "b s"] | None) -> Float[Tensor, "b h t s"]:
    """The weights, 0 for padding."""
    return weights if mask is None else weights * mask[:, None, None]
