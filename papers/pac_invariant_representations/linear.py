"""Linear representations Phi in R^{r x m}, an infinite class: random ones, and ones searched for the worst that a learner could certify.

Rows are orthonormal, so that ||w|| is the length of the predictor Phi^T w and definition (a) means the same for all of them, coordinate subsets included.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from papers.pac_invariant_representations.model import optimum


def orthonormal(Phi: Float[np.ndarray, "K r m"]) -> Float[np.ndarray, "K r m"]:
    """The nearest matrix with orthonormal rows; the same row space."""
    left, _, right = np.linalg.svd(Phi, full_matrices=False)
    return left @ right


def distances(Phi: Float[np.ndarray, "K r m"], S: Float[np.ndarray, "E V V"], chunk: int = 64) -> Float[np.ndarray, "K E-1"]:
    """||w_e - w_0|| in each environment after the reference."""
    found = []
    for start in range(0, len(Phi), chunk):
        w = optimum(S, Phi[start : start + chunk, None])  # (K, E, r)
        found.append(np.linalg.norm(w[:, 1:] - w[:, :1], axis=2))
    return np.concatenate(found)


def weighted_gradient(Phi: Float[np.ndarray, "K r m"], S: Float[np.ndarray, "E V V"], weights) -> tuple[np.ndarray, np.ndarray]:
    """d_e^2 = ||w_e - w_0||^2, (K, E-1), and the gradient with respect to Phi of a function of them.

    ``weights`` maps the d_e^2 to the function's derivatives with respect to them. With G_e = Phi S_e Phi^T, g_e the gradient with respect to w_e, and
    a_e = G_e^-1 g_e, the gradient is sum_e a_e (s_e - S_e Phi^T w_e)^T - w_e (S_e Phi^T a_e)^T.
    """
    Phi_S = Phi[:, None] @ S[:, :-1, :-1]  # (K, E, r, m)
    G = Phi_S @ np.swapaxes(Phi, 1, 2)[:, None]
    w = optimum(S, Phi[:, None])
    off = w[:, 1:] - w[:, :1]
    squared = (off**2).sum(axis=2)
    g = 2 * weights(squared)[:, :, None] * off
    g = np.concatenate([-g.sum(axis=1, keepdims=True), g], axis=1)
    a = np.linalg.solve(G, g[..., None])[..., 0]
    residual = S[:, :-1, -1] - np.einsum("kerm,ker->kem", Phi_S, w)
    return squared, np.einsum("ker,kem->krm", a, residual) - np.einsum("ker,kes,kesm->krm", w, a, Phi_S)


def descend(Phi: Float[np.ndarray, "K r m"], S: Float[np.ndarray, "E V V"], weights, steps: int, first: float = 0.1) -> Float[np.ndarray, "K r m"]:
    """Normalised gradient descent on matrices with orthonormal rows; the step falls from ``first`` to a hundredth of it."""
    for size in np.geomspace(first, first / 100, steps):
        _, gradient = weighted_gradient(Phi, S, weights)
        length = np.sqrt((gradient**2).sum(axis=(1, 2), keepdims=True))
        Phi = orthonormal(Phi - size * gradient / np.maximum(length, 1e-12))
    return Phi


def invariant_ones(Phi: Float[np.ndarray, "K r m"], train: Float[np.ndarray, "E V V"], steps: int) -> Float[np.ndarray, "K r m"]:
    """Local minima of the mean of d_e^2 over the training environments."""
    return descend(Phi, train, lambda squared: np.full(squared.shape, 1 / squared.shape[1]), steps)


def deceptive_ones(
    Phi: Float[np.ndarray, "K r m"], train: Float[np.ndarray, "E V V"], shadow: Float[np.ndarray, "E V V"], eps: float, steps: int, lam: float = 10.0
) -> Float[np.ndarray, "K r m"]:
    """Representations that pass on the training environments and fail as often as possible on shadow environments of the same law, which no learner has.

    Descent on lam sum_train max(d^2 / (0.9 eps)^2 - 1, 0) - mean_shadow d^2 / (d^2 + eps^2). This is the worst case that a uniform guarantee is about.
    """
    n = len(train) - 1

    def weights(squared):
        fits = lam * (squared[:, :n] > (0.9 * eps) ** 2) / (0.9 * eps) ** 2
        fails = -(eps**2) / (squared[:, n:] + eps**2) ** 2 / (squared.shape[1] - n)
        return np.concatenate([fits, fails], axis=1)

    return descend(Phi, np.concatenate([train, shadow]), weights, steps)
