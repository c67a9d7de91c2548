"""Multi-query recall learned by gradient descent (gpu profile): two layers of one mixer, with or without a width-2 convolution before it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from papers.test_time_regression.model import short_convolution, unit
from papers.test_time_regression.tasks import multi_query_streams
from shared.seeds import seed_torch, torch_generator
from shared.sequence.delta import delta_rule
from shared.sequence.features import Taylor
from shared.sequence.linear import linear_attention
from shared.sequence.softmax import softmax_attention

WIDTH, HEADS, LAYERS, RATE = 64, 2, 2, 3e-3


class Mixer(nn.Module):
    """Projections to queries, keys and values, one of the shared mixers, and a projection back. Keys see the previous token through a learned convolution."""

    def __init__(self, kind: str, conv: bool):
        super().__init__()
        self.kind = kind
        self.taps = nn.Parameter(torch.stack([torch.zeros(WIDTH), torch.ones(WIDTH)])) if conv else None  # previous token, this token
        self.projections = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.step = nn.Linear(WIDTH, HEADS)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Float[Tensor, "b t w"]) -> Float[Tensor, "b t w"]:
        keys_from = x
        if self.taps is not None:
            _, previous, current = short_convolution(x[:, None])
            keys_from = (self.taps[0] * previous + self.taps[1] * current)[:, 0]
        q, k, v = (project(y).unflatten(-1, (HEADS, -1)).transpose(1, 2) for project, y in zip(self.projections, (x, keys_from, x), strict=True))
        if self.kind == "softmax":
            y, _ = softmax_attention(q, k, v)
        elif self.kind == "delta":
            y, _ = delta_rule(unit(q), unit(k), v, self.step(x).sigmoid().transpose(1, 2))
        else:
            y, _ = linear_attention(q, k, v, features=Taylor(), normalise=True)
        return self.out(y.transpose(1, 2).flatten(-2))


class Recaller(nn.Module):
    """Pre-norm residual layers without positions or feed-forward parts."""

    def __init__(self, vocabulary: int, kind: str, conv: bool):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        self.mixers = nn.ModuleList(Mixer(kind, conv) for _ in range(LAYERS))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(LAYERS + 1))
        self.read = nn.Linear(WIDTH, vocabulary)

    def forward(self, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b t vocabulary"]:
        x = self.embedding(tokens)
        for mixer, norm in zip(self.mixers, self.norms, strict=False):
            x = x + mixer(norm(x))
        return self.read(self.norms[-1](x))


def trained_recall(kind: str, conv: bool, steps: int, vocabulary: int, pairs: int, seed: int, device: str, batch: int = 256) -> dict:
    """Accuracy on fresh streams after ``steps`` updates on fresh streams (Adam, cosine to 0)."""
    seed_torch(seed, "init")
    net = Recaller(vocabulary, kind, conv).to(device)
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    gen = torch_generator(seed, "train", device)
    for _ in range(steps):
        tokens, answers = multi_query_streams(gen, batch, pairs, vocabulary)
        loss = F.cross_entropy(net(tokens)[:, 2 * pairs :].flatten(0, 1), answers.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        tokens, answers = multi_query_streams(torch_generator(seed, "test", device), 4 * batch, pairs, vocabulary)
        accuracy = (net(tokens)[:, 2 * pairs :].argmax(-1) == answers).double().mean().item()
    return {"trained_accuracy": accuracy, "trained_loss": loss.item()}
