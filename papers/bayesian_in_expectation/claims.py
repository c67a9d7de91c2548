"""The claims of paper.toml, each as one value per seed. "PE models" are the plainly trained coin Transformers with any positional encoding, of any depth."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papers.bayesian_in_expectation.theory import count_risk, fit_law, source_entropy
from shared.effects import log_log_slope
from shared.engine import NotRun, claim


def lengths(trials: pd.DataFrame) -> np.ndarray:
    """The n grid, which all trials share."""
    return np.asarray(trials["lengths"].iloc[0])


def at(trials: pd.DataFrame, metric: str, n: int) -> pd.Series:
    """The entry for prefixes of n draws of a metric on the n grid."""
    grid = lengths(trials)
    if n not in grid:
        raise NotRun(f"no prefixes of {n} draws were measured")
    return trials[metric].map(lambda curve: curve[int(np.flatnonzero(grid == n)[0])])


def coins(trials: pd.DataFrame) -> pd.DataFrame:
    """Plainly trained Transformers on the coin."""
    return trials[(trials.network == "transformer") & (trials.training == "plain") & (trials.V == 2)]


def with_positions(trials: pd.DataFrame) -> pd.DataFrame:
    """The PE models."""
    return coins(trials)[lambda rows: rows.encoding != "none"]


def per_seed(rows: pd.DataFrame, values: pd.Series) -> pd.Series:
    """Mean over the networks of each seed."""
    return values.astype(float).groupby(rows.seed).mean()


@claim("positional-encoding-breaks-exchangeability")
def order_variance_contrast(trials: pd.DataFrame) -> pd.Series:
    """Powers of ten between the smallest order variance with an encoding and that of one layer without, n = 20."""
    rows = coins(trials).assign(variance=lambda rows: at(rows, "order_variance", 20).clip(lower=1e-18).astype(float))
    without = rows[(rows.encoding == "none") & (rows.layers == 1)].set_index("seed").variance
    return np.log10(rows[rows.encoding != "none"].groupby("seed").variance.min()) - np.log10(without)


@claim("martingale-gap-log-n-over-n")
def log_n_over_n(trials: pd.DataFrame) -> pd.Series:
    """R^2 about the mean of the one-parameter fit c log(n)/n, for each PE model, averaged."""
    rows = with_positions(trials)
    if len(lengths(rows)) < 3:
        raise NotRun("a law needs at least three lengths")
    return per_seed(rows, rows.martingale_gap.map(lambda gap: fit_law(lengths(rows), gap, "log n / n").r_squared))


@claim("gap-shrinks-from-10-to-50")
def gap_ratio(trials: pd.DataFrame) -> pd.Series:
    """E_pi |q_pi - E q_pi| near n = 50 over that at n = 10; both averaged over the PE models first."""
    rows = with_positions(trials)
    late = [n for n in lengths(rows) if 48 <= n <= 50]
    if not late:
        raise NotRun("no prefixes of 48 to 50 draws were measured")
    return per_seed(rows, at(rows, "realization_gap", late[0])) / per_seed(rows, at(rows, "realization_gap", 10))


@claim("permutation-averaging-k-minus-half")
def averaging_slope(trials: pd.DataFrame) -> pd.Series:
    """Log-log slope of the standard deviation of the mean of k orders against k = 1 .. 32."""
    rows = with_positions(trials)
    ks = np.asarray(rows.ks.iloc[0])
    used = ks <= 32
    return per_seed(rows, rows.averaging_deviation.map(lambda deviation: log_log_slope(ks[used], np.asarray(deviation)[used])))


@claim("near-optimal-in-expectation-at-20")
def entropy_ratio(trials: pd.DataFrame) -> pd.Series:
    """Bayes risk over the risk of the permutation-averaged predictor at n = 20."""
    rows = with_positions(trials)
    bayes = count_risk(20)
    return per_seed(rows, bayes / (bayes + at(rows, "kl_averaged", 20)))


@claim("excess-risk-rate")
def excess_slope(trials: pd.DataFrame) -> pd.Series:
    """Log-log slope over n = 5 .. 48 of the risk of one order beyond the source entropy, 0.5 nats."""
    rows = with_positions(trials)
    n = np.arange(5, min(49, len(rows.kl.iloc[0])))
    bayes = np.array([count_risk(m) for m in n])
    return per_seed(rows, rows.kl.map(lambda kl: log_log_slope(n, bayes + np.asarray(kl)[n] - source_entropy())))
