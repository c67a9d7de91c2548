"""The paper's two reductions of the network: an induction head with three parameters, and three nested logits without any data.

The symbols of the first are this replication's own; the structure is the paper's: previous-token attention (beta1), match of contents (beta2), and the
bias towards labels (alpha) that makes the context-label stage.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from papers.icl_abrupt_learning.model import (
    Data,
    ReadOut,
    Sequences,
    Setting,
    accuracy,
    context_label_accuracy,
    cross_entropy,
    init_read_out,
    item_label_attention,
    read,
    sgd,
    target_label_attention,
    training_sequences,
)

# ---- an induction head with three parameters ----


class InductionHead(NamedTuple):
    beta1: Float[Array, ""]  # first layer: preference of a token for the one before it
    beta2: Float[Array, ""]  # second layer: weight of the match between the target and what a label has gathered
    alpha: Float[Array, ""]  # second layer: preference of the target for labels, whichever they are
    read_out: ReadOut


def init_induction_head(rng: np.random.Generator, D: int, width: int, L: int) -> InductionHead:
    """beta1, beta2, alpha ~ N(0, 0.1^2); the read-out as the network's, on the target and the summary side by side."""
    scalars = (0.1 * rng.normal(size=3)).astype(np.float32)
    return InductionHead(*scalars, init_read_out(rng, 2 * D, width, L))


def previous_token_attention(beta1: Float[Array, ""], T: int) -> Float[Array, "T T"]:
    """p1_ij proportional to exp(beta1 [j = i - 1]) over j <= i."""
    causal = np.tril(np.ones((T, T), dtype=bool))
    return jax.nn.softmax(jnp.where(causal, beta1 * np.eye(T, k=-1), -jnp.inf), axis=-1)


def target_attention(head: InductionHead, content: Float[Array, "batch T D"]) -> tuple[Float[Array, "T T"], Float[Array, "batch T"]]:
    """p1, and p2_j = softmax of beta2 <target, content gathered at j> + alpha on labels j, 0 on items."""
    T = content.shape[1]
    p1 = previous_token_attention(head.beta1, T)
    gathered = p1 @ content  # (batch, T, D)
    match = jnp.einsum("bd,bjd->bj", content[:, -1], gathered)
    is_label = np.arange(T) % 2 == 1
    return p1, jax.nn.softmax(jnp.where(is_label, head.beta2 * match + head.alpha, 0.0), axis=-1)


def induction_head(head: InductionHead, content: Float[Array, "batch T D"]) -> tuple[Float[Array, "batch L"], Float[Array, "T T"], Float[Array, "batch T"]]:
    """Logits from the target's content and the summary sum_j p2_j label_j; the attention of both layers."""
    p1, p2 = target_attention(head, content)
    summary = jnp.einsum("bj,bjd->bd", p2[:, 1::2], content[:, 1::2])
    return read(head.read_out, jnp.concatenate([content[:, -1], summary], axis=1)), p1, p2


def content_of(sequences: Sequences, setting: Setting) -> Float[Array, "batch T D"]:
    """The tokens without their positions."""
    return sequences.x[..., setting.span :]


@functools.cache
def induction_head_step(setting: Setting, decay: float, context_label_stage: bool):
    """``step(head, t, data)``: plain SGD on a fresh batch. Without the context-label stage alpha is held at 0."""

    def free(head: InductionHead) -> InductionHead:
        return head if context_label_stage else head._replace(alpha=jnp.zeros_like(head.alpha))

    def loss(head: InductionHead, sequences: Sequences) -> Float[Array, ""]:
        return cross_entropy(induction_head(free(head), content_of(sequences, setting))[0], sequences.y)

    def step(head: InductionHead, t: Int[Array, ""], data: Data) -> InductionHead:
        sequences = training_sequences(jax.random.fold_in(data.key, t), data.world, setting)
        return free(sgd(head, jax.grad(loss)(head, sequences), data.lr, decay))

    return step


@functools.cache
def induction_head_measure(setting: Setting):
    """``measure(head, data)``: the network's measures, and the three parameters."""

    def measure(head: InductionHead, data: Data) -> dict[str, Float[Array, ""]]:
        overall, ic = data.tests.overall, data.tests.ic
        logits, p1, p2 = induction_head(head, content_of(ic, setting))
        return {
            "loss": cross_entropy(induction_head(head, content_of(overall, setting))[0], overall.y),
            "ic": accuracy(logits, ic.y),
            "cla": context_label_accuracy(logits, ic.context),
            "ila": item_label_attention(p1[None]),
            "tila": target_label_attention(p2[:, None], ic),
            "beta1": head.beta1,
            "beta2": head.beta2,
            "alpha": head.alpha,
        }

    return measure


# ---- three nested logits ----


class NestedLogits(NamedTuple):
    beta1: Float[Array, ""]
    beta2: Float[Array, ""]
    xi: Float[Array, ""]


class Sizes(NamedTuple):
    """N pairs and L labels, as floats: runs with different sizes share one program."""

    N: Float[Array, ""]
    L: Float[Array, ""]


def nested_attention(logits: NestedLogits, N: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """w, attention of the target to the right label, and w', to each other token.

    a = e^beta1 / (e^beta1 + N);  w = e^(beta2 a) / (e^(beta2 a) + 2N);  w' = 1 / (e^(beta2 a) + 2N).
    """
    a = jax.nn.sigmoid(logits.beta1 - jnp.log(N))
    gain = jnp.exp(logits.beta2 * a)
    return gain / (gain + 2 * N), 1 / (gain + 2 * N)


def nested_loss(logits: NestedLogits, sizes: Sizes) -> Float[Array, ""]:
    """-log( e^(xi w) / (e^(xi w) + (N - 1) e^(xi w') + L - N) )."""
    N, L = sizes
    w, other = nested_attention(logits, N)
    exponents = jnp.stack([logits.xi * w, logits.xi * other, jnp.zeros_like(w)])
    return logsumexp(exponents, b=jnp.stack([jnp.ones_like(N), N - 1, L - N])) - logits.xi * w


class Descent(NamedTuple):
    logits: NestedLogits
    learnt_after: Int[Array, ""]  # steps before the loss was first below ln(N) / 2; -1 as long as it was not


DESCENT_RATE = 0.05
"""Step of gradient descent on the nested logits."""


def start_descent(key) -> Descent:
    """Logits ~ N(0, 0.1^2)."""
    return Descent(NestedLogits(*(0.1 * jax.random.normal(key, (3,)))), jnp.array(-1))


def descent_step(state: Descent, t: Int[Array, ""], sizes: Sizes) -> Descent:
    """One step of gradient descent, and a note of the first time that the loss is below ln(N) / 2: the right label is told from the context's others."""
    value, grads = jax.value_and_grad(nested_loss)(state.logits, sizes)
    learnt = (state.learnt_after < 0) & (value < 0.5 * jnp.log(sizes.N))
    return Descent(sgd(state.logits, grads, DESCENT_RATE, 0.0), jnp.where(learnt, t, state.learnt_after))


def descent_measure(state: Descent, sizes: Sizes) -> dict[str, Float[Array, ""]]:
    return {"loss": nested_loss(state.logits, sizes)} | state.logits._asdict()
