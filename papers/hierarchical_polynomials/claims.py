"""From recorded trials to the claims' metrics, one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papers.hierarchical_polynomials.baselines import KERNELS
from papers.hierarchical_polynomials.replicate import NETWORK
from papers.hierarchical_polynomials.theory import recovery_theory
from shared.effects import first_crossing, log_log_slope
from shared.engine import NotRun, chosen, claim

HEADLINE = 8
"""n / d^2 of the comparisons with kernels."""
RECOVERED = 0.8
"""Correlation with p, relative to its population limit, that n_target is read at."""


def largest_dimension(trials: pd.DataFrame) -> int:
    """The largest d at which the network and the kernels were compared."""
    return int(chosen(trials, experiment="sweep", method=next(iter(KERNELS)))["d"].max())


def swept(trials: pd.DataFrame, method: str, ratio: float, metric: str) -> pd.Series:
    """A metric of the largest dimension, indexed by seed."""
    return chosen(trials, experiment="sweep", method=method, ratio=ratio, d=largest_dimension(trials))[metric].astype(float)


def best_kernel(trials: pd.DataFrame, ratio: float, metric: str) -> pd.Series:
    """The lower of the two kernels' test errors, seed by seed."""
    return pd.concat([swept(trials, name, ratio, metric) for name in KERNELS], axis=1).min(axis=1)


@claim("three-layer-beats-kernel")
def advantage(trials: pd.DataFrame) -> pd.Series:
    return best_kernel(trials, HEADLINE, "error") - swept(trials, NETWORK, HEADLINE, "error")


@claim("kernel-wins-with-few-samples")
def disadvantage(trials: pd.DataFrame) -> pd.Series:
    return swept(trials, NETWORK, 1, "error") - best_kernel(trials, 1, "error")


@claim("kernel-plateau")
def plateau(trials: pd.DataFrame) -> pd.Series:
    return best_kernel(trials, HEADLINE, "over_plateau")


@claim("sample-complexity-d2")
def exponent(trials: pd.DataFrame) -> pd.Series:
    rows = chosen(trials, experiment="recovery")
    dims = sorted(rows["d"].unique())
    if len(dims) < 3:
        raise NotRun("a slope needs three dimensions at least")
    needed = [rows[rows["d"] == d].groupby(level="seed").apply(samples_needed) for d in dims]
    return pd.Series(log_log_slope(dims, np.stack(needed, axis=1)), index=needed[0].index)


def samples_needed(curve: pd.DataFrame) -> float:
    """n at which the relative correlation, mean over draws, first reaches RECOVERED, interpolated linearly in ln n; NotRun when not crossed in the range."""
    means = curve.groupby("n")["corr_relative"].mean()
    n, corr = means.index.to_numpy(float), means.to_numpy(float)
    log_n = first_crossing(np.log(n), corr, RECOVERED)
    if log_n is None or corr[0] >= RECOVERED:
        raise NotRun(f"at d = {curve['d'].iloc[0]:.0f} the correlation does not cross {RECOVERED} between n = {n[0]:.0f} and {n[-1]:.0f}")
    return float(np.exp(log_n))


@claim("learning-curve-constant")
def against_theory(trials: pd.DataFrame) -> pd.Series:
    """Measured over predicted corr(g_u, p), mean over n >= 4 d^2 at the largest dimension compared."""
    d = largest_dimension(trials)
    rows = chosen(trials, experiment="sweep", method=NETWORK, d=d)
    rows = rows[rows["ratio"] >= 4]
    if rows.empty:
        raise NotRun("no network with n >= 4 d^2")
    return (rows["corr"] / [recovery_theory(n, d) for n in rows["n"]]).groupby(level="seed").mean()


@claim("approximate-stein-rate")
def stein_slope(trials: pd.DataFrame) -> pd.Series:
    gaps = chosen(trials, experiment="stein").pivot_table(index="seed", columns="d", values="gap")
    if len(gaps.columns) < 2:
        raise NotRun("a slope needs two dimensions at least")
    if (gaps <= 0).any(axis=None):
        raise NotRun("with so few Monte Carlo points a distance is lost in noise")
    return pd.Series(log_log_slope(gaps.columns, gaps.to_numpy(float)), index=gaps.index)


@claim("stein-constant")
def stein_constant(trials: pd.DataFrame) -> pd.Series:
    rows = chosen(trials, experiment="stein")
    return (rows["gap"] / rows["gap_exact"]).groupby(level="seed").mean()


@claim("feature-recovered")
def recovery(trials: pd.DataFrame) -> pd.Series:
    return swept(trials, NETWORK, 16, "corr_relative")


@claim("needs-nonzero-mean-slope")
def control(trials: pd.DataFrame) -> pd.Series:
    rows = chosen(trials, experiment="control")
    return rows[rows["d"] == rows["d"].max()]["corr"] ** 2


@claim("descent-reaches-closed-form")
def descent_distance(trials: pd.DataFrame) -> pd.Series:
    rows = chosen(trials, experiment="descent")
    return rows["distance2"].map(lambda curve: float(curve[-1]))
