"""From recorded trials to the claims' metrics, one value per seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from shared.effects import log_log_slope
from shared.engine import NotRun, claim

SLOPE_DIMENSIONS = (50, 100, 200, 400)
PAPERS_C = 0.2
CONVERGED = 0.25
"""A classifier counts as converged when this share of its total fall in error remains."""


def slopes(trials: pd.DataFrame, metric: str) -> pd.Series:
    """Least-squares slope of ln m* on ln n with two classes."""
    rows = trials[(trials["experiment"] == "simulation") & (trials["K"] == 2) & trials["n"].isin(SLOPE_DIMENSIONS)]
    if set(rows["n"]) != set(SLOPE_DIMENSIONS):
        raise NotRun(f"the slope needs n in {SLOPE_DIMENSIONS}")
    needed = rows.pivot(index="seed", columns="n", values=metric)
    return pd.Series(log_log_slope(needed.columns.to_numpy(), needed.to_numpy(float)), index=needed.index)


@claim("nb-sample-complexity-log")
def naive_bayes_slope(trials: pd.DataFrame) -> pd.Series:
    return slopes(trials, "m_nb")


@claim("lr-sample-complexity-linear")
def logistic_regression_slope(trials: pd.DataFrame) -> pd.Series:
    return slopes(trials, "m_lr")


@claim("multiclass-gap")
def multiclass_gap(trials: pd.DataFrame) -> pd.Series:
    """ln(m*_LR / m*_NB) at the largest n minus the same at the smallest, K = 5."""
    rows = trials[(trials["experiment"] == "simulation") & (trials["K"] == 5)]
    if rows["n"].nunique() < 2:
        raise NotRun("the simulation with K = 5 needs two dimensions at least")
    log_ratio = rows.assign(log_ratio=np.log(rows["m_lr"] / rows["m_nb"])).pivot(index="seed", columns="n", values="log_ratio")
    return log_ratio[log_ratio.columns.max()] - log_ratio[log_ratio.columns.min()]


def feature_rows(trials: pd.DataFrame, pretraining: str | None = None) -> pd.DataFrame:
    """The rows on frozen features; NotRun when there are none."""
    rows = trials[trials["experiment"] == "features"]
    if pretraining is not None and not rows.empty:
        rows = rows[rows["pretraining"] == pretraining]
    if rows.empty:
        raise NotRun("no frozen features: the data set could not be had (the failed trials say where it is looked for), or the run left them out")
    return rows


def per_row(rows: pd.DataFrame, value: Callable[..., float], *columns: str) -> pd.Series:
    """``value(*columns)`` of every row, averaged over the encoders of a seed."""
    values = [value(*(np.asarray(row[name], float) for name in columns)) for _, row in rows.iterrows()]
    return pd.Series(values, index=rows["seed"]).groupby(level=0).mean()


@claim("nb-few-shot")
def few_shot_advantage(trials: pd.DataFrame) -> pd.Series:
    """error(LR) - error(NB), mean over the two smallest m, encoder trained with labels."""
    return per_row(feature_rows(trials, "labels"), lambda nb, lr: (lr - nb)[:2].mean(), "error_nb", "error_lr")


@claim("nb-few-shot-paper-c")
def few_shot_advantage_at_the_papers_C(trials: pd.DataFrame) -> pd.Series:
    """The same against logistic regression at the one C that the paper uses for its supervised ResNet50."""

    def advantage(nb, Cs, lr_by_C):
        at = np.flatnonzero(np.isclose(Cs, PAPERS_C))
        if len(at) == 0:
            raise NotRun(f"C = {PAPERS_C} was not among the values tried")
        return (lr_by_C[:, at[0]] - nb)[:2].mean()

    return per_row(feature_rows(trials, "labels"), advantage, "error_nb", "Cs", "error_lr_by_C")


@claim("two-regimes-supervised")
def large_sample_advantage(trials: pd.DataFrame) -> pd.Series:
    """error(NB) - error(LR) at the largest m, encoder trained with labels."""
    return per_row(feature_rows(trials, "labels"), lambda nb, lr: (nb - lr)[-1], "error_nb", "error_lr")


@claim("nb-converges-faster")
def convergence_advantage(trials: pd.DataFrame) -> pd.Series:
    """ln(m_LR / m_NB), mean over the encoders."""

    def advantage(m, nb, lr):
        return np.log(labels_to_converge(m, lr) / labels_to_converge(m, nb))

    return per_row(feature_rows(trials), advantage, "m", "error_nb", "error_lr")


def labels_to_converge(m: np.ndarray, error: np.ndarray) -> float:
    """The first m where error(m) - error(m_max) < 1/4 (error(m_min) - error(m_max)), interpolated linearly in ln m."""
    level = error[-1] + CONVERGED * (error[0] - error[-1])
    below = error < level
    if below[0] or not below.any():  # the error did not fall on the way from m_min to m_max: converged at once
        return float(m[0])
    i = int(below.argmax())
    share = (error[i - 1] - level) / (error[i - 1] - error[i])
    return float(np.exp(np.log(m[i - 1]) + share * np.log(m[i] / m[i - 1])))
