"""What the models are pre-trained to do: predict the next token (decoders), or the tokens behind masks (encoders)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from shared.lms.config import ModelConfig
from shared.lms.jax_model import logits
from shared.lms.roles import ROLES


def cross_entropy(scores: Float[Array, "*batch vocab"], targets: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    """-log softmax(scores)[target], in float32."""
    scores = scores.astype(jnp.float32)
    return jax.nn.logsumexp(scores, axis=-1) - jnp.take_along_axis(scores, targets[..., None], axis=-1)[..., 0]


def next_token_loss(params: dict, config: ModelConfig, windows: Int[Array, "batch length"]) -> Float[Array, ""]:
    """Mean over all tokens but each window's first."""
    return cross_entropy(logits(params, config, windows[:, :-1]), windows[:, 1:]).mean()


def mask_tokens(key: PRNGKeyArray, ids: Int[Array, "batch length"], share: float, mask: int, vocab: int):
    """BERT's corruption of ``share`` of each row's ordinary tokens, the same number in every row: 80 % become the mask token, 10 % a random one, 10 % stay.

    Returns the corrupted ids, the chosen positions (batch, n) and the tokens that stood there.
    """
    choose, kind, other = jax.random.split(key, 3)
    order = jnp.where(ids < len(ROLES), 1.0, jax.random.uniform(choose, ids.shape))
    positions = jax.lax.top_k(-order, round(share * ids.shape[1]))[1]
    targets = jnp.take_along_axis(ids, positions, axis=1)
    draw = jax.random.uniform(kind, positions.shape)
    random = jax.random.randint(other, positions.shape, len(ROLES), vocab)
    written = jnp.where(draw < 0.8, mask, jnp.where(draw < 0.9, random, targets))
    return jnp.put_along_axis(ids, positions, written, axis=1, inplace=False), positions, targets


def masked_loss(params: dict, config: ModelConfig, ids: Int[Array, "batch length"], key: PRNGKeyArray, share: float, mask: int) -> Float[Array, ""]:
    """Mean over the chosen positions, the only ones where logits are computed."""
    corrupted, positions, targets = mask_tokens(key, ids, share, mask, config.vocab)
    return cross_entropy(logits(params, config, corrupted, positions=positions), targets).mean()
