"""Sizes of effects that claims are made of: slopes on log-log axes, comparisons matched by seed, and standardised differences, with intervals.

    log_log_slope(n, seconds)                       # one slope, or one per row of ``seconds``
    log_log_fit(n, seconds).interval()              # slope and its 95 % interval from the residuals
    first_crossing(steps, accuracy, 0.9)            # where a curve first reaches a level, between its points
    matched_difference(trials, "accuracy", {"method": "ours"}, {"method": "plain"})     # one difference per seed
    standardised_difference(ours, plain)            # Hedges' g and its interval

A claim's own interval is over seeds: give the engine one slope or difference per seed. The intervals here are for a single fit or two samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats


def log_log_slope(x, y):
    """Least-squares slope of log y on log x.

    Parameters
    ----------
    x : (n,) positive, at least two different values.
    y : (n,) or (..., n) positive; a slope for each leading index. ValueError names what is wrong.
    """
    log_x, log_y = logarithms(x, y)
    centred = log_x - log_x.mean()
    slopes = log_y @ centred / (centred @ centred)
    return float(slopes) if slopes.ndim == 0 else slopes


def first_crossing(x, y, level: float, falling: bool = False) -> float | None:
    """The x at which a curve first reaches ``level`` from below (or falls to it), on a line between its points.

    The first x where the curve is there from the start, None where it never gets there. x (n,) in order, y (n,).
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    reached = y <= level if falling else y >= level
    if not reached.any():
        return None
    i = int(reached.argmax())
    if i == 0:
        return float(x[0])
    return float(x[i - 1] + (level - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))


@dataclass(frozen=True)
class LogLogFit:
    """log y = intercept + slope log x + residual."""

    slope: float
    intercept: float
    slope_error: float
    """Standard error of the slope, from the residuals; infinite with two points."""
    points: int
    r_squared: float

    def interval(self, level: float = 0.95) -> tuple[float, float, float]:
        """Slope and its confidence limits (Student's t, n - 2 degrees of freedom); two points say nothing about their error."""
        if self.points < 3:
            return self.slope, -math.inf, math.inf
        half = float(stats.t.ppf(0.5 + level / 2, self.points - 2)) * self.slope_error
        return self.slope, self.slope - half, self.slope + half

    def predict(self, x) -> np.ndarray:
        """The fitted power law at ``x``."""
        return np.exp(self.intercept) * np.asarray(x, float) ** self.slope


def log_log_fit(x, y) -> LogLogFit:
    """The fit of one curve: x (n,), y (n,), both positive."""
    log_x, log_y = logarithms(x, y)
    if log_y.ndim != 1:
        raise ValueError("log_log_fit takes one curve; for many at once there is log_log_slope")
    found = stats.linregress(log_x, log_y)
    error = float(found.stderr) if len(log_x) > 2 else math.inf
    return LogLogFit(float(found.slope), float(found.intercept), error, len(log_x), float(found.rvalue) ** 2)


def logarithms(x, y) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or y.shape[-1:] != x.shape:
        raise ValueError(f"x of shape {x.shape} and y of shape {y.shape}: want x (n,) and y (..., n)")
    if not ((x > 0).all() and (y > 0).all()):  # also false for NaN
        raise ValueError("a log-log slope needs positive x and y")
    if len(np.unique(x)) < 2:
        raise ValueError("a slope needs two different values of x")
    return np.log(x), np.log(y)


def matched_difference(trials: pd.DataFrame, metric: str, ours: dict, other: dict) -> pd.Series:
    """``metric`` under the condition ``ours`` minus ``metric`` under ``other``, seed by seed.

    Both conditions must pick exactly one row for each of the same seeds: what is compared has the same data, or it is not a matched comparison.
    """
    a, b = (by_seed(trials, metric, condition) for condition in (ours, other))
    if set(a.index) != set(b.index):
        raise ValueError(f"{ours} has seeds {sorted(a.index)} and {other} has {sorted(b.index)}: nothing to match")
    return (a - b).sort_index()


def by_seed(trials: pd.DataFrame, metric: str, condition: dict) -> pd.Series:
    """The metric of the one row that each seed has under a condition, indexed by seed."""
    chosen = trials
    for name, value in condition.items():
        chosen = chosen[chosen[name] == value]
    if chosen.empty or chosen["seed"].duplicated().any():
        raise ValueError(f"{condition} picks {len(chosen)} rows for {chosen['seed'].nunique()} seeds: want one for each")
    return chosen.set_index("seed")[metric].astype(float)


def standardised_difference(a, b, level: float = 0.95) -> tuple[float, float, float]:
    """Hedges' g, (mean a - mean b) / pooled standard deviation with the small-sample factor 1 - 3 / (4 dof - 1), and its limits.

    Two independent samples of at least two values each. The limits use the large-sample variance (n + m) / (n m) + g^2 / (2 (n + m)) with Student's t in place
    of the normal (Hedges and Olkin, 1985, chapter 5). Samples without any spread have no standardised difference (ValueError).
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    n, m = len(a), len(b)
    if min(n, m) < 2:
        raise ValueError("a standardised difference needs two values in each sample")
    dof = n + m - 2
    pooled = math.sqrt(((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / dof)
    if pooled == 0:
        raise ValueError("both samples are constant: there is no spread to measure the difference in")
    g = (a.mean() - b.mean()) / pooled * (1 - 3 / (4 * dof - 1))
    half = stats.t.ppf(0.5 + level / 2, dof) * math.sqrt((n + m) / (n * m) + g**2 / (2 * (n + m)))
    return float(g), float(g - half), float(g + half)
