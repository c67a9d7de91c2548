"""The claims of paper.toml, each as one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from shared.engine import NotRun, chosen, claim

SIMPLE = 3
"""The first three targets: constant, x1, x1 AND x2."""


def networks(trials: pd.DataFrame) -> pd.DataFrame:
    """E1 under the prior of finite Gaussian networks."""
    return chosen(trials, experiment="boolean", law="gaussian")


def per_seed(rows: pd.DataFrame, value) -> pd.Series:
    """``value`` of each row, a number."""
    return pd.Series([float(value(row)) for _, row in rows.iterrows()], index=rows.index)


@claim("regret-bound-holds")
def worst_against_bound(trials: pd.DataFrame) -> pd.Series:
    """max over widths, targets and n of mean regret - bound - 3 standard errors."""
    worst = per_seed(networks(trials), lambda row: np.max(row.regret - row.bound - 3 * row.regret_error))
    return worst.groupby(level=0).max()


@claim("regret-bound-holds-exactly")
def worst_against_bound_exactly(trials: pd.DataFrame) -> pd.Series:
    return per_seed(chosen(trials, experiment="exact"), lambda row: np.max(row.exact - row.bound))


@claim("regret-equals-log-weight")
def final_regret_over_log_weight(trials: pd.DataFrame) -> pd.Series:
    """Mean over widths and named targets with W_0 > 1e-4 of R_400 / ln(1 / W_0)."""

    def ratio(row):
        heavy = row.weight > 1e-4
        return np.mean(row.regret[heavy, at(row.sizes, 400)] / np.log(1 / row.weight[heavy]))

    return per_seed(networks(trials), ratio).groupby(level=0).mean()


@claim("overparametrisation-does-not-hurt")
def wide_over_narrow(trials: pd.DataFrame) -> pd.Series:
    """Mean over simple targets of R_200(H = 64) / R_200(H = 4)."""
    narrow, wide = (chosen(trials, experiment="boolean", law="gaussian", H=H) for H in (4, 64))
    ratios = [np.mean(simple_regret(wide.loc[seed]) / simple_regret(narrow.loc[seed])) for seed in narrow.index]
    return pd.Series(ratios, index=narrow.index)


def simple_regret(row: pd.Series) -> np.ndarray:
    """R_200 of the simple targets."""
    return row.regret[:SIMPLE, at(row.sizes, 200)]


def at(sizes: np.ndarray, n: int) -> int:
    """Where ``n`` stands among the sizes."""
    if n not in sizes:
        raise NotRun(f"no regret was measured at n = {n}")
    return int(np.flatnonzero(sizes == n)[0])


@claim("effective-dimension-rate")
def growth_over_half_k(trials: pd.DataFrame) -> pd.Series:
    """Slope of R_n on ln n over [100, 10000], k = 2 of m = 1000, divided by k / 2."""

    def slope(row):
        used = (row.sizes >= 100) & (row.sizes <= 10_000)
        return np.polyfit(np.log(row.sizes[used]), row.regret[used], 1)[0]

    return per_seed(chosen(trials, experiment="gaussian", k=2, m=1000), slope)


@claim("simple-learn-faster")
def rank_correlation(trials: pd.DataFrame) -> pd.Series:
    """Spearman's correlation of ln(1 / W) with the labels needed."""
    rows = networks(trials)
    rows = rows[rows.target_needs.notna()]
    return per_seed(rows, lambda row: stats.spearmanr(-row.target_log_weight, row.target_needs).statistic)


@claim("class-size-does-not-matter")
def price_of_more_hypotheses(trials: pd.DataFrame) -> pd.Series:
    few, many = (chosen(trials, experiment="coins", K=K) for K in (101, 10_001))
    difference = [many.exact[seed][at(many.sizes[seed], 1000)] - few.exact[seed][at(few.sizes[seed], 1000)] for seed in few.index]
    return pd.Series(difference, index=few.index) / np.log(10_001 / 101)


@claim("singular-truth-is-cheaper")
def singular_over_regular(trials: pd.DataFrame) -> pd.Series:
    def slope(row):
        used = row.sizes > 99.9
        if row.sizes[-1] < 0.99e6:
            raise NotRun("regret was not followed up to n = 1e6")
        return np.polyfit(np.log(row.sizes[used]), row.exact[used], 1)[0]

    singular, regular = (per_seed(chosen(trials, experiment="singular", mu0=mu0), slope) for mu0 in (0.0, 1.0))
    return singular / regular


def full_batch(trials: pd.DataFrame, task: str | None = None) -> pd.DataFrame:
    """The reference chains, whose batch is the whole training set."""
    rows = chosen(trials, experiment="langevin", **({"task": task} if task else {}))
    return rows[rows.batch == rows.batch.max()]


@claim("langevin-ensemble-approximates-mixture")
def ensemble_advantage(trials: pd.DataFrame) -> pd.Series:
    """min(single, MLE) - ensemble, test log-loss on breast_cancer."""
    rows = full_batch(trials, "breast_cancer")
    return rows[["loss_single", "loss_mle"]].min(axis=1) - rows.loss_ensemble


@claim("langevin-temperature")
def temperature(trials: pd.DataFrame) -> pd.Series:
    return full_batch(trials, "diabetes").temperature


@claim("langevin-ensemble-is-the-mixture")
def distance_to_exact_loss(trials: pd.DataFrame) -> pd.Series:
    rows = full_batch(trials, "diabetes")
    return (rows.loss_ensemble - rows.loss_exact).abs()


@claim("langevin-chains-agree")
def largest_r_hat(trials: pd.DataFrame) -> pd.Series:
    return per_seed(full_batch(trials), lambda row: np.max(row.r_hat_predictions)).groupby(level=0).max()
