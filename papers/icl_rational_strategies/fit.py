"""Fitting the hierarchical model, and its ablations, to what a Transformer predicts: least mean KL(Transformer || mixture) by L-BFGS-B on free logarithms."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import minimize, minimize_scalar

from papers.icl_rational_strategies.model import Learner, Strategies, kl, mix, posterior

OFFICIAL_START = Learner(alpha=0.6, beta=0.2, gamma=0.85)
"""Where the authors' fits of Balls & Urns begin."""
STARTS = {"alpha": (0.3, 0.6, 0.9), "beta": (0.1, 0.2, 0.4), "gamma": tuple(10.0**k for k in range(-2, 6)), "c": tuple(10.0**k for k in range(-5, 1))}
"""Other places to begin: without them a fit whose weights saturate at 0 or 1 has no gradient to leave by, and an ablation would look worse than it is."""
FIXED = {
    "full": {"c": 1.0},
    "linear_evidence": {"c": 1.0, "alpha": 0.0},
    "linear_complexity": {"c": 1.0, "beta": 1.0},
    "no_gamma": {"c": 1.0, "gamma": 1.0},
    "complexity_coefficient": {"beta": 1.0},
}
"""The model and its ablations: which parameters are held, and where."""


class Cells(NamedTuple):
    """What is to be explained: the Transformer's predictions at some checkpoints (after N steps) and diversities, and all that the model may know."""

    N: Float[Array, " checkpoints"]
    known: Strategies
    T: Float[Array, "checkpoints D n C V"]
    M: Float[Array, "D n C V"]
    G: Float[Array, "D n C V"]

    def corner(self, checkpoints: int, diversities: int) -> Cells:
        """The first checkpoints and the smallest diversities, which the parameters are fitted on."""
        known = Strategies(*(values[:diversities] for values in self.known))
        return Cells(self.N[:checkpoints], known, self.T[:checkpoints, :diversities], self.M[:diversities], self.G[:diversities])


def divergence(w: Float[Array, "checkpoints D"], cells: Cells) -> Float[Array, ""]:
    """Mean KL(T || w M + (1 - w) G) over checkpoints, diversities, sequences and positions."""
    return kl(cells.T, mix(w, cells.M, cells.G)).mean()


mean_divergence = jax.jit(divergence)


@jax.jit
def loss(learner: Learner, cells: Cells) -> Float[Array, ""]:
    """The divergence of the model with these parameters."""
    return divergence(posterior(learner, cells.N, cells.known)[0], cells)


loss_and_slope = jax.jit(jax.value_and_grad(loss))


def fit(cells: Cells, fixed: dict[str, float]) -> Learner:
    """L-BFGS-B over the logarithms of the free parameters, from the official start and from the best point of a coarse grid; the better end."""
    free = [name for name in Learner._fields if name not in fixed]

    def learner(x: np.ndarray) -> Learner:
        return Learner(**fixed, **dict(zip(free, np.exp(x), strict=True)))

    def value_and_slope(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = loss_and_slope(learner(x), cells)
        return float(value), np.exp(x) * [float(getattr(slope, name)) for name in free]  # d/d log p = p d/dp

    coarse = Cells(cells.N, cells.known, cells.T[:, :, ::8], cells.M[:, ::8], cells.G[:, ::8])
    grid = [np.log(values) for values in itertools.product(*(STARTS[name] for name in free))]
    starts = [np.log([getattr(OFFICIAL_START, name) for name in free]), min(grid, key=lambda x: float(loss(learner(x), coarse)))]
    ends = [minimize(value_and_slope, x, jac=True, method="L-BFGS-B", options={"ftol": 1e-7, "gtol": 1e-7}) for x in starts]
    return learner(min(ends, key=lambda end: end.fun).x)


def fit_constant(cells: Cells) -> float:
    """The single w that serves all cells best, whatever N and D."""
    shape = cells.T.shape[:2]
    return float(minimize_scalar(lambda w: float(mean_divergence(jnp.full(shape, w), cells)), bounds=(0, 1), method="bounded").x)
