"""Sampling from a decoder in torch: a batch of prompts at once, keys and values cached.

ids, mask = map(torch.from_numpy, pad(prompts, side="left"))
tokens, log_probs = sample(model, ids, mask, generator, new_tokens=32, temperature=0.8, top_p=0.9)
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from shared.lms.torch_model import Transformer


def restrict(logits: Float[Tensor, "... vocab"], top_k: int = 0, top_p: float = 1.0) -> Float[Tensor, "... vocab"]:
    """-inf for all but the ``top_k`` likeliest tokens (0: all), and of these all but the smallest set whose mass reaches ``top_p``."""
    if top_k:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    if top_p < 1:
        descending = logits.sort(dim=-1, descending=True).values
        mass = descending.softmax(-1)
        before = mass.cumsum(-1) - mass  # a token stays if the likelier ones alone do not reach top_p
        last = (before < top_p).sum(-1, keepdim=True) - 1
        logits = logits.masked_fill(logits < descending.gather(-1, last), -torch.inf)
    return logits


def draw(logits: Float[Tensor, "batch vocab"], generator: torch.Generator, temperature: float, top_k: int, top_p: float) -> Int[Tensor, " batch"]:
    """One token a row from softmax(logits / temperature), restricted; temperature 0 takes the likeliest."""
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial(restrict(logits / temperature, top_k, top_p).softmax(-1), 1, generator=generator)[:, 0]


@torch.no_grad()
def sample(
    model: Transformer,
    prompts: Int[Tensor, "batch length"],
    mask: Bool[Tensor, "batch length"],
    generator: torch.Generator,
    new_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    end: int | None = None,
    pad: int = 0,
) -> tuple[Int[Tensor, "batch new_tokens"], Float[Tensor, "batch new_tokens"]]:
    """Continuations of left-padded prompts, and each token's log-probability at temperature 1, unrestricted.

    After the token ``end`` come ``pad`` tokens of log-probability 0. One generator serves the batch, so a row depends on the rows beside it.
    """
    cache, tokens, log_probs = model.empty_cache(), [], []
    done = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    ids, places = prompts, (mask.long().cumsum(1) - 1).clamp_min(0)
    for _ in range(new_tokens):
        scores = model.unembed(model.run(ids, mask, places, cache=cache)[-1][:, -1]).float()
        token = draw(scores, generator, temperature, top_k, top_p)
        log_prob = scores.log_softmax(-1).gather(1, token[:, None])[:, 0]
        tokens.append(token.masked_fill(done, pad))
        log_probs.append(log_prob.masked_fill(done, 0.0))
        if end is not None:
            done = done | (token == end)
        ids, places = tokens[-1][:, None], places[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    return torch.stack(tokens, dim=1), torch.stack(log_probs, dim=1)
