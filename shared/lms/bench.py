"""Training speed: ``Program.advance`` against the same decoder as a minimal GPT in torch, in one file, of torch's fastest parts.

Same shapes, same windows, same optimiser and schedule of clipping; float32 on a CPU; on a GPU both compute in bfloat16 and the torch side is compiled.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.lms.config import ModelConfig, named
from shared.lms.pretraining import compiled, program
from shared.lms.recipes import Recipe, recipe_for
from shared.lms.tokenization import tokenizer_of
from shared.seeds import jax_key, numpy_rng

STEPS = 8


class Block(nn.Module):
    """One pre-norm layer: fused query, key and value, fused gate and up."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.heads = config.heads
        self.norms = nn.ModuleList(nn.RMSNorm(config.width, eps=config.norm_eps) for _ in range(2))
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.up = nn.Linear(config.width, 2 * config.ffn, bias=False)
        self.down = nn.Linear(config.ffn, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norms[0](x)).chunk(3, dim=-1))
        q, k = (turn(part, cos, sin) for part in (q, k))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        gate, up = self.up(self.norms[1](x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class MinimalGPT(nn.Module):
    """A Llama-like decoder that can only be trained."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.tokens = nn.Embedding(config.vocab, config.width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=config.norm_eps)
        angles = torch.arange(config.context)[:, None] * torch.tensor(config.frequencies)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, windows: Tensor) -> Tensor:
        """Mean next-token loss of windows (batch, context + 1)."""
        x = self.tokens(windows[:, :-1])
        for block in self.blocks:
            x = block(x, self.cos.to(x.dtype), self.sin.to(x.dtype))
        scores = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(scores.flatten(0, 1).float(), windows[:, 1:].flatten())


def steps_in_torch(config: ModelConfig, recipe: Recipe, tokens: np.ndarray, starts: np.ndarray) -> Callable[[], float]:
    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    model = MinimalGPT(config).to(device)
    loss_of = torch.compile(model) if device == "cuda" else model
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay, fused=True)
    text = torch.from_numpy(tokens.astype(np.int64)).to(device)
    windows = text[torch.from_numpy(starts.astype(np.int64)).to(device)[..., None] + torch.arange(config.context + 1, device=device)]

    def run() -> float:
        for batch in windows:
            optimiser.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                loss = loss_of(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        return float(loss.detach())

    return run


def steps_in_jax(name: str, recipe: Recipe, tokens: np.ndarray, starts: np.ndarray) -> Callable[[], float]:
    dtype = jnp.bfloat16 if jax.default_backend() == "gpu" else jnp.float32
    ours = compiled(program(named(name), recipe, tokenizer_of(name), dtype))
    kept = {"state": ours.start(jax_key(0, "init"))}
    text, begin, key = jnp.asarray(tokens), jnp.asarray(starts), jax_key(0, "masks")

    def run() -> float:
        kept["state"], losses = ours.advance(kept["state"], text, begin, key)
        return float(losses[-1])

    return run


def cases() -> dict[str, tuple[Callable[[], float], Callable[[], float]]]:
    """Eight steps of training, 64 windows of 128 tokens each."""
    found = {}
    for name in ("dec-xs", "dec-s"):
        config, recipe, rng = named(name), recipe_for(name), numpy_rng(0, "bench")
        tokens = rng.integers(0, config.vocab, 200_000).astype(np.int16)
        starts = rng.integers(0, len(tokens) - config.context, (STEPS, recipe.batch)).astype(np.int32)
        found[f"{name}, {STEPS * recipe.batch * config.context} tokens"] = (
            steps_in_jax(name, recipe, tokens, starts),
            steps_in_torch(config, recipe, tokens, starts),
        )
    return found
