"""Has a sampler sampled? Split R-hat, effective sample size, temperature. Draws are arrays (chains, draws, quantities)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Draws = Float[np.ndarray, "chains draws quantities"]


def variances(draws: Draws) -> tuple[Float[np.ndarray, " quantities"], Float[np.ndarray, " quantities"]]:
    """Mean variance within chains, and the pooled estimate ((n - 1) W + B) / n that also holds the variance between their means."""
    n = draws.shape[1]
    within = draws.var(axis=1, ddof=1).mean(axis=0)
    return within, (n - 1) / n * within + draws.mean(axis=1).var(axis=0, ddof=1)


def split_r_hat(draws: Draws) -> Float[np.ndarray, " quantities"]:
    """sqrt(pooled / within) with every chain cut into halves, so that a drift counts as disagreement; 1 when chains have mixed (Gelman et al., 2013, 11.4)."""
    half = draws.shape[1] // 2
    within, pooled = variances(np.concatenate([draws[:, :half], draws[:, -half:]]))
    return np.sqrt(pooled / within)


def effective_size(draws: Draws) -> Float[np.ndarray, " quantities"]:
    """chains x draws / (1 + 2 sum_t rho_t), the sum cut off by Geyer's rule: sums of neighbouring pairs of rho, while positive, made monotone."""
    chains, n, _ = draws.shape
    centred = draws - draws.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(centred, 2 * n, axis=1)) ** 2
    covariance = np.fft.irfft(spectrum, axis=1)[:, :n].mean(axis=0) / n  # (lag, quantities)
    within, pooled = variances(draws)
    rho = 1 - (within - covariance * n / (n - 1)) / pooled
    pairs = rho[0 : n - n % 2 : 2] + rho[1::2]
    pairs = np.where(np.logical_and.accumulate(pairs > 0, axis=0), pairs, 0)
    time = 2 * np.minimum.accumulate(pairs, axis=0).sum(axis=0) - 1
    return chains * n / np.maximum(time, 1 / np.log10(chains * n))


def virial_temperature(theta: Float[np.ndarray, "... p"], gradient: Float[np.ndarray, "... p"], centre: Float[np.ndarray, " p"]) -> float:
    """E[(theta - centre) . grad U(theta)] / p, U = -ln posterior: 1 for draws from the posterior, whatever its shape and the centre (integrate by parts)."""
    return float(((theta - centre) * gradient).sum(axis=-1).mean() / theta.shape[-1])


def direction_variances(draws: Draws, mean: Float[np.ndarray, " p"], precision: Float[np.ndarray, "p p"]):
    """Along each eigenvector of a Gaussian posterior's precision: its eigenvalue h, and the draws' second moment about ``mean`` times h, 1 if exact; (p,)."""
    h, vectors = np.linalg.eigh(precision)
    return h, (((draws - mean) @ vectors) ** 2).mean(axis=(0, 1)) * h
