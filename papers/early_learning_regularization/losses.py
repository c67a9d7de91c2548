"""The losses that are compared, for one batch of class scores; the ELR loss is the paper's Eq. 6.

Shapes: B examples, C classes. ``targets`` t (B, C) are running averages of a network's own outputs, constants to the gradient. p = softmax(scores).

    ce     -log p_y
    elr    -log p_y + lam log(1 - <p, t>)
    kl     -log p_y - lam sum_c t_c log p_c       a pull towards the same targets whose gradient fades (the paper's Appendix C)
    gce    (1 - p_y^q) / q                        generalised cross-entropy (Zhang and Sabuncu 2018), q = 0.7
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

LOSSES = ("ce", "elr", "kl", "gce")
SMALLEST = 1e-4  # the released code's clamp on p, without which the logarithm diverges as <p, t> -> 1
GCE_Q = 0.7


def probabilities(scores: Float[Array, "B C"]) -> Float[Array, "B C"]:
    """p, clamped to [1e-4, 1 - 1e-4] as in the released code."""
    return jnp.clip(jax.nn.softmax(scores), SMALLEST, 1 - SMALLEST)


def updated_targets(targets: Float[Array, "B C"], scores: Float[Array, "B C"], beta: float) -> Float[Array, "B C"]:
    """t <- beta t + (1 - beta) p / sum(p). Targets start at zero and are not corrected for it: k visits to a constant p give (1 - beta^k) p."""
    p = jax.lax.stop_gradient(probabilities(scores))
    return beta * targets + (1 - beta) * p / p.sum(-1, keepdims=True)


def elr_penalty(scores: Float[Array, "B C"], targets: Float[Array, "B C"]) -> Float[Array, " B"]:
    """log(1 - <p, t>): falls without limit as the output agrees with its own past, so that the pull does not fade."""
    return jnp.log(1 - (probabilities(scores) * targets).sum(-1))


class Objective(NamedTuple):
    """Which loss a run descends on. All fields are numbers, so that runs which differ in them share one compiled program."""

    kind: Int[Array, ""]
    """Index into LOSSES."""
    beta: Float[Array, ""]
    """Weight of the past in the running targets."""
    lam: Float[Array, ""]
    """Strength of the regulariser."""


def objective(name: str, beta: float, lam: float) -> Objective:
    """The objective of a loss by its name."""
    if name not in LOSSES:
        raise ValueError(f"no loss {name!r}; there are {', '.join(LOSSES)}")
    return Objective(jnp.asarray(LOSSES.index(name)), jnp.asarray(beta), jnp.asarray(lam))


def loss(kind: Int[Array, ""], scores: Float[Array, "B C"], labels: Float[Array, "B C"], targets: Float[Array, "B C"], lam: Array) -> Float[Array, ""]:
    """Mean loss over the batch; ``labels`` are one-hot, ``targets`` already updated in this step."""
    log_p = jax.nn.log_softmax(scores)
    cross_entropy = -(labels * log_p).sum(-1)
    each = [
        lambda: cross_entropy,
        lambda: cross_entropy + lam * elr_penalty(scores, targets),
        lambda: cross_entropy - lam * (targets * log_p).sum(-1),
        lambda: (1 - jnp.exp(-GCE_Q * cross_entropy)) / GCE_Q,
    ]
    return jax.lax.switch(kind, each).mean()


def elr_gradient(p: Float[Array, "B C"], labels: Float[Array, "B C"], targets: Float[Array, "B C"], lam: float) -> Float[Array, "B C"]:
    """Gradient of the ELR loss in the scores (paper's Lemma 2): p - y + lam g, g_c = p_c (<p, t> - t_c) / (1 - <p, t>), where no clamp is active."""
    agreement = (p * targets).sum(-1, keepdims=True)
    return p - labels + lam * p * (agreement - targets) / (1 - agreement)
