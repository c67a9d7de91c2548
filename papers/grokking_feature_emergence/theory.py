"""The paper's closed forms: Stage I (ridge-optimal top layer), II (the energy each node climbs), III (how nodes act on each other), Fourier powers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from papers.grokking_feature_emergence.model import cosine, label_signal, preactivations, transposed_inputs

# ---- Stage I: lazy learning. F~ = P F and Y~ = P Y are centred over the n pairs. ----


def ridge_top_layer(F: Float[Array, "n K"], Y: Float[Array, "n M"], eta) -> Float[Array, "K M"]:
    """V = (F~^T F~ + eta I)^-1 F~^T Y~, computed on the side of the smaller dimension (push-through identity)."""
    n, K = F.shape
    if n >= K:
        return jnp.linalg.solve(F.T @ F + eta * jnp.eye(K), F.T @ Y)
    return F.T @ jnp.linalg.solve(F @ F.T + eta * jnp.eye(n), Y)


def backpropagated(F: Float[Array, "n K"], Y: Float[Array, "n M"], V: Float[Array, "K M"]) -> Float[Array, "n K"]:
    """G_F = P(Y - F V) V^T, here of centred F~ and Y~."""
    return (Y - F @ V) @ V.T


def backpropagated_at_ridge(F: Float[Array, "n K"], Y: Float[Array, "n M"], eta) -> Float[Array, "n K"]:
    """G_F at the ridge-optimal V in closed form: eta S Y~ Y~^T S F~ with S = (F~ F~^T + eta I)^-1. It vanishes with eta when K >= n."""
    S = jnp.linalg.inv(F @ F.T + eta * jnp.eye(len(F)))
    return eta * S @ Y @ (Y.T @ S @ F)


def lazy_cosines(F: Float[Array, "n K"], Y: Float[Array, "n M"], V: Float[Array, "K M"], etas: Float[Array, " e"]) -> Float[Array, " layers"]:
    """cos(G_F, Y~ Y~^T F) at the random top layer V, then at the ridge-optimal one for each eta in units of ||F~||_F^2 / n."""
    signal = label_signal(Y, F)
    unit = jnp.square(F).sum() / len(F)
    layers = [V, *(ridge_top_layer(F, Y, eta * unit) for eta in etas)]
    return jnp.stack([cosine(backpropagated(F, Y, layer), signal) for layer in layers])


# ---- Stage II: every node climbs E by itself (squared activation). ----


def energy(W: Float[Array, "2M K"], Y: Float[Array, "pairs M"]) -> Float[Array, " K"]:
    """E(w) = 1/2 ||Y~^T sigma(X w)||^2 of every column w of W. Y~ has zero rows on the pairs left out (``centred_labels``)."""
    return 0.5 * jnp.square(Y.T @ jnp.square(preactivations(W))).sum(axis=0)


def energy_gradient(W: Float[Array, "2M K"], Y: Float[Array, "pairs M"]) -> Float[Array, "2M K"]:
    """X^T (sigma'(X w) * Y~ Y~^T sigma(X w)), the dynamics w' of every column."""
    Z = preactivations(W)
    return transposed_inputs(2 * Z * label_signal(Y, jnp.square(Z)), len(W) // 2)


def unit_columns(W: Float[Array, "2M K"]) -> Float[Array, "2M K"]:
    return W / jnp.linalg.norm(W, axis=0)


def ascent_step(W: Float[Array, "2M K"], t, Y: Float[Array, "pairs M"]) -> Float[Array, "2M K"]:
    """Projected gradient ascent on the unit sphere. E has degree 4, so w . grad E = 4 E: dividing by it makes the step the same at every scale of E."""
    gradient = energy_gradient(W, Y)
    return unit_columns(W + gradient / (W * gradient).sum(axis=0))


def ascent_metrics(W: Float[Array, "2M K"], Y: Float[Array, "pairs M"]) -> dict[str, Float[Array, " K"]]:
    """Energy of every climber, and the sine of the angle between w and grad E, which is 0 at a stationary point."""
    direction = unit_columns(energy_gradient(W, Y))
    off = direction - W * (W * direction).sum(axis=0)
    return {"energy": energy(W, Y), "slope": jnp.linalg.norm(off, axis=0)}


# ---- Stage III: interaction. ----


def interaction(F: Float[Array, "n K"], eta) -> Float[Array, "K K"]:
    """B = (F~^T F~ + eta I)^-1, by which nodes act on each other; B_jl < 0 for nodes of similar features, which therefore repel each other."""
    return jnp.linalg.inv(F.T @ F + eta * jnp.eye(F.shape[1]))


# ---- Fourier modes, the irreducible representations of Z_M, M odd; "..." stands for any leading axes ----


def frequency_power(W: Float[np.ndarray, "... 2M K"]) -> Float[np.ndarray, "... frequencies K"]:
    """q_k = |u^_k|^2 + |u^_-k|^2 of the half u of every node that reads g1, for k = 1 .. (M-1)/2."""
    M = W.shape[-2] // 2
    spectrum = np.fft.rfft(np.asarray(W)[..., :M, :], axis=-2)
    return 2 * np.square(np.abs(spectrum[..., 1 : (M + 1) // 2, :]))


def peaks(W: Float[np.ndarray, "... 2M K"]) -> Float[np.ndarray, "... K"]:
    """Each node's largest q_k over its sum of q_k: 1 for a single Fourier mode."""
    power = frequency_power(W)
    return power.max(axis=-2) / power.sum(axis=-2)


def peak_fraction(W: Float[np.ndarray, "... 2M K"]) -> Float[np.ndarray, ...]:
    """The nodes' peaks, averaged with their power sum_k q_k as weight, since most nodes die under weight decay."""
    power = frequency_power(W)
    return power.max(axis=-2).sum(axis=-1) / power.sum(axis=(-2, -1))


def frequencies_carried(W: Float[np.ndarray, "... 2M K"], share: float = 0.02) -> Int[np.ndarray, ...]:
    """How many frequencies hold more than ``share`` of the total power."""
    power = frequency_power(W).sum(axis=-1)
    return (power > share * power.sum(axis=-1, keepdims=True)).sum(axis=-1)


def strongest_nodes(W: Float[np.ndarray, "2M K"], count: int) -> Float[np.ndarray, "count frequencies"]:
    """q_k of the nodes of most power, grouped by their largest frequency."""
    power = frequency_power(W).T
    power = power[np.argsort(-power.sum(axis=1))[:count]]
    return power[np.argsort(power.argmax(axis=1))]
