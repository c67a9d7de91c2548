"""Predictors of Y from training environments: pooled least squares, the best invariant subset, the causal parents, and a gradient penalty (IRMv1)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from papers.pac_invariant_representations.model import deviations, risks, subset_optima


def erm(S: Float[np.ndarray, "E V V"]) -> Float[np.ndarray, " m"]:
    """Least squares on all features, pooled over the environments."""
    return on_subset(S, range(S.shape[-1] - 1))


def on_subset(S: Float[np.ndarray, "E V V"], T) -> Float[np.ndarray, " m"]:
    """Least squares on the features T, pooled over the environments; zero elsewhere."""
    T, pooled, w = np.array(T, int), S.mean(axis=0), np.zeros(S.shape[-1] - 1)
    w[T] = np.linalg.solve(pooled[np.ix_(T, T)], pooled[T, -1])
    return w


def invariant_subset(S: Float[np.ndarray, "E V V"], eps: float) -> tuple[int, ...]:
    """Among the subsets that are eps-approximately invariant on all environments, the empty one included, that of smallest pooled risk.

    S[0] is the reference.
    """
    pooled = S.mean(axis=0)
    best, least = (), pooled[-1, -1]
    invariant = (deviations(S)[0] <= eps).all(axis=1)
    for (T, _, mse), admitted in zip(subset_optima(pooled[None]), invariant, strict=True):
        if admitted and mse[0] < least:
            best, least = T, mse[0]
    return best


def irm_objective(w: Float[np.ndarray, " m"], S: Float[np.ndarray, "E V V"], lam: float) -> tuple[float, np.ndarray]:
    """mean_e [R_e(w) + lam D_e^2] and its gradient, D_e = d/ds R_e(s w) at s = 1 = 2 (w S_XX w - w.S_XY): the penalty of IRMv1 with linear features."""
    Sw, cross = S[:, :-1, :-1] @ w, S[:, :-1, -1]
    D = 2 * (Sw - cross) @ w
    value = risks(w[None], S).mean() + lam * (D**2).mean()
    gradient = 2 * (Sw - cross) + lam * 2 * D[:, None] * (4 * Sw - 2 * cross)
    return value, gradient.mean(axis=0)


def irm(S: Float[np.ndarray, "E V V"], validation: Float[np.ndarray, "E V V"], lams) -> Float[np.ndarray, " m"]:
    """The minimiser from the start at ERM, with the lam that has the least worst risk on other interventions of the training law."""
    found = [minimize(irm_objective, erm(S), args=(S, lam), jac=True, method="BFGS").x for lam in lams]
    return found[risks(np.array(found), validation).max(axis=1).argmin()]
