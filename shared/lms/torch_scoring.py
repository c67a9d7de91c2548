"""Log-probabilities of tokens, label words and continuations, and perplexity, in torch. Sequences are right-padded (``padding.pad``)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from shared.lms.torch_model import Transformer


def score_labels(
    model: Transformer,
    prompts: Int[Tensor, "batch length"],
    mask: Bool[Tensor, "batch length"],
    labels: Int[Tensor, " labels"],
    positions: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch labels"]:
    """log p(label word | prompt) over the whole vocabulary, read at ``positions``: the last token of a prompt unless said (an encoder's mask token)."""
    where = mask.sum(1) - 1 if positions is None else positions
    return model.logits(prompts, mask, positions=where[:, None])[:, 0].float().log_softmax(-1)[:, labels]


def token_log_probs(model: Transformer, ids: Int[Tensor, "batch length"], mask: Bool[Tensor, "batch length"] | None = None) -> Float[Tensor, "batch rest"]:
    """log p(ids[t + 1] | ids[..t]) of a decoder, (batch, length - 1); 0 where the token is padding."""
    scores = model.logits(ids[:, :-1], None if mask is None else mask[:, :-1]).float()
    found = scores.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return found if mask is None else found.masked_fill(~mask[:, 1:], 0.0)


def score_continuations(
    model: Transformer, ids: Int[Tensor, "batch length"], mask: Bool[Tensor, "batch length"], prompt_lengths: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Sum of the log-probabilities of the tokens after each prompt, and how many they are."""
    counted = mask[:, 1:] & (torch.arange(1, ids.shape[1], device=ids.device) >= prompt_lengths[:, None])
    return (token_log_probs(model, ids, mask) * counted).sum(1), counted.sum(1)


@torch.no_grad()
def mean_loss(model: Transformer, windows: Int[Tensor, "n length"], batch: int = 32) -> float:
    """Mean next-token loss over windows, nats per token; each window's first token is only read."""
    return float(torch.cat([-token_log_probs(model, part).mean(1) for part in windows.split(batch)]).mean())


def perplexity(model: Transformer, windows: Int[Tensor, "n length"], batch: int = 32) -> float:
    """exp of the mean loss."""
    return math.exp(mean_loss(model, windows, batch))
