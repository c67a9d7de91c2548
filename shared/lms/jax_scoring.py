"""Log-probabilities of tokens, label words and continuations, and perplexity, in JAX. Sequences are right-padded (``padding.pad``)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from shared.lms.config import ModelConfig
from shared.lms.jax_model import last_hidden_state, logits, unembed


def score_labels(
    params: dict,
    config: ModelConfig,
    prompts: Int[Array, "batch length"],
    mask: Bool[Array, "batch length"],
    labels: Int[Array, " labels"],
    positions: Int[Array, " batch"] | None = None,
    **options,
) -> Float[Array, "batch labels"]:
    """log p(label word | prompt) over the whole vocabulary, read at ``positions``: the last token of a prompt unless said (an encoder's mask token)."""
    where = jnp.sum(mask, axis=1) - 1 if positions is None else positions
    scores = logits(params, config, prompts, mask, positions=where[:, None], **options)[:, 0]
    return jax.nn.log_softmax(scores.astype(jnp.float32))[:, labels]


def token_log_probs(params: dict, config: ModelConfig, ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"] | None = None, **options):
    """log p(ids[t + 1] | ids[..t]) of a decoder, (batch, length - 1); 0 where the token is padding."""
    hidden = last_hidden_state(params, config, ids[:, :-1], None if mask is None else mask[:, :-1], **options)
    scores = unembed(params, config, hidden).astype(jnp.float32)
    found = jnp.take_along_axis(scores, ids[:, 1:, None], axis=-1)[..., 0] - jax.nn.logsumexp(scores, axis=-1)
    return found if mask is None else jnp.where(mask[:, 1:], found, 0.0)


def score_continuations(
    params: dict, config: ModelConfig, ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"], prompt_lengths: Int[Array, " batch"], **options
) -> tuple[Float[Array, " batch"], Int[Array, " batch"]]:
    """Sum of the log-probabilities of the tokens after each prompt, and how many they are."""
    counted = mask[:, 1:] & (jnp.arange(1, ids.shape[1]) >= prompt_lengths[:, None])
    return jnp.sum(token_log_probs(params, config, ids, mask, **options) * counted, axis=1), jnp.sum(counted, axis=1)


@partial(jax.jit, static_argnames="config")
def window_losses(params: dict, config: ModelConfig, windows: Int[Array, "batches batch length"]) -> Float[Array, "batches batch"]:
    """Mean next-token loss of each window, nats."""
    return jax.lax.map(lambda ids: -token_log_probs(params, config, ids.astype(jnp.int32)).mean(axis=1), windows)


def mean_loss(params: dict, config: ModelConfig, windows: Int[np.ndarray, "n length"], batch: int = 32) -> float:
    """Mean next-token loss over windows, nats per token; each window's first token is only read."""
    whole = len(windows) - len(windows) % batch
    parts = [part for part in (windows[:whole].reshape(-1, batch, windows.shape[1]), windows[None, whole:]) if part.size]
    return float(np.mean(np.concatenate([np.ravel(window_losses(params, config, jnp.asarray(part))) for part in parts])))


def perplexity(params: dict, config: ModelConfig, windows: Int[np.ndarray, "n length"], batch: int = 32) -> float:
    """exp of the mean loss."""
    return float(np.exp(mean_loss(params, config, windows, batch)))
