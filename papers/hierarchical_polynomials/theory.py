"""Learning curves in the limit n, d to infinity with n / d^2 fixed: quadratic p, generic link, balanced signs. Nothing here is fitted.

Beyond the paper, which proves rates: polynomials of degree 2 in d Gaussian inputs behave like independent Gaussian features, and ridge regression on those
is solvable.
"""

from __future__ import annotations

import math


def ridge_risk(gamma: float, noise: float) -> float:
    """Share r of the signal that optimally tuned ridge regression misses with gamma samples per isotropic direction and this noise-to-signal ratio.

    The fixed point r = 1 / (1 + gamma / (noise + r)) of the proportional limit, i.e. r^2 + (noise + gamma - 1) r = noise.
    """
    half = (noise + gamma - 1) / 2
    return math.sqrt(half**2 + noise) - half


def missed_quadratic(n: float, d: int) -> float:
    """r for the d (d + 1) / 2 directions of degree 2 and n samples; what h has beyond degree 2 acts as noise of variance 1/2 + 1/d against a signal of 1/2."""
    return ridge_risk(2 * n / (d * (d + 1)), 1 + 2 / d)


def recovery_theory(n: float, d: int) -> float:
    """corr(g_u, p) with n samples in all, n / 2 for stage 1: the estimate has (1 - r) p and, of norm 2 / sqrt d, the radial q, which is learned at once."""
    learned = 1 - missed_quadratic(n / 2, d)
    return learned / math.sqrt(learned + 4 / d)


def three_layer_theory(n: float, d: int) -> float:
    """Test error / Var h when stage 2 finds E[h | g_u], with g_u and p jointly Gaussian: (1 - rho^2 + 1 - rho^4) / 2."""
    rho = recovery_theory(n, d)
    return (2 - rho**2 - rho**4) / 2 / (1 + 3 / d)


def quadratic_theory(n: float, d: int) -> float:
    """Test error / Var h of ridge regression on all polynomials of degree 2 from n samples, which kernels in this range amount to."""
    return (1 / 2 + 1 / d + missed_quadratic(n, d) / 2) / (1 + 3 / d)
