"""The claims of paper.toml, each as one value per seed. A seed is a block: its excess risks are means over its draws."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.effects import log_log_slope
from shared.engine import NotRun, chosen, claim

CROSSING_UNLABELLED = (200, 400)


def select(trials: pd.DataFrame, **condition) -> pd.DataFrame:
    """``chosen``, with the metrics that are numbers under this condition, and arrays under others, as numbers."""
    return chosen(trials, **condition).infer_objects()


def curves(rows: pd.DataFrame, name: str) -> np.ndarray:
    """A metric that is an array in each row, as (seeds, ...)."""
    return np.stack(rows[name].to_list())


def table(rows: pd.DataFrame, metric: str, over: str) -> pd.DataFrame:
    """A scalar metric as (seeds, values of a condition)."""
    return rows.reset_index().pivot(index="seed", columns=over, values=metric)


def slope(x: np.ndarray, values: np.ndarray, index: pd.Index) -> pd.Series:
    """The exponent of each row of ``values`` over ``x``."""
    if len(x) < 3:
        raise NotRun("an exponent needs three settings at least")
    return pd.Series(log_log_slope(np.asarray(x, float), np.asarray(values, float)), index=index)


def table_slope(rows: pd.DataFrame, metric: str, over: str) -> pd.Series:
    values = table(rows, metric, over)
    return slope(values.columns, values, values.index)


def entry(rows: pd.DataFrame, metric: str, grid: str, value: float) -> pd.Series:
    """An array metric at the place where its grid, an array metric too, has a value."""
    places = np.flatnonzero(rows[grid].iloc[0] == value)
    if len(places) == 0:
        raise NotRun(f"{grid} = {value} was not run")
    return pd.Series(curves(rows, metric)[:, places[0]], index=rows.index)


# ---- factor models ----


@claim("pretraining-beats-supervised")
def advantage(trials: pd.DataFrame) -> pd.Series:
    rows = select(trials, experiment="labels", n=80, rho=0.0)
    return rows[["excess_ols", "excess_ridge"]].min(axis=1) / rows.excess_pretrain


@claim("label-cost-flat-in-dimension")
def pretrained_over_dimension(trials: pd.DataFrame) -> pd.Series:
    return table_slope(select(trials, experiment="dimension"), "excess_pretrain", "d")


@claim("supervised-cost-grows-with-dimension")
def supervised_over_dimension(trials: pd.DataFrame) -> pd.Series:
    return table_slope(select(trials, experiment="dimension"), "excess_ols", "d")


@claim("label-cost-independent-of-dimension")
def dimension_gap(trials: pd.DataFrame) -> pd.Series:
    return supervised_over_dimension(trials) - pretrained_over_dimension(trials)


@claim("rate-in-labels")
def label_rate(trials: pd.DataFrame) -> pd.Series:
    return table_slope(select(trials, experiment="labels", rho=0.0), "excess_pretrain", "n")


@claim("rate-in-unlabelled")
def unlabelled_rate(trials: pd.DataFrame) -> pd.Series:
    rows = select(trials, experiment="unlabelled", rho=0.0)
    return slope(rows.m.iloc[0], curves(rows, "excess_pretrain"), rows.index)


@claim("no-help-when-uninformative")
def harm_without_information(trials: pd.DataFrame) -> pd.Series:
    rows = select(trials, experiment="control")
    return np.log(rows.excess_pretrain / rows.excess_ols)


@claim("exact-factor-error")
def factor_error(trials: pd.DataFrame) -> pd.Series:
    rows = select(trials, experiment="exact")
    return rows.excess_pretrain / rows.exact_pretrain


@claim("exact-unlabelled-error")
def unlabelled_error(trials: pd.DataFrame) -> pd.Series:
    rows = select(trials, experiment="unlabelled", rho=0.0)
    return pd.Series((curves(rows, "floor") / curves(rows, "limit_floor")).mean(axis=1), index=rows.index)


def share_left(trials: pd.DataFrame, ratio: float) -> pd.Series:
    """The floor as a share of the excess of the zero predictor."""
    rows = select(trials, experiment="threshold", ratio=ratio)
    return rows.floor / rows.zero_excess


@claim("unlabelled-threshold-below")
def left_below_the_threshold(trials: pd.DataFrame) -> pd.Series:
    return share_left(trials, 0.25)


@claim("unlabelled-threshold-above")
def left_above_the_threshold(trials: pd.DataFrame) -> pd.Series:
    return share_left(trials, 4.0)


def crossing(n: np.ndarray, log_ratio: np.ndarray) -> float:
    """ln n where a falling curve goes through 0, on a line between the settings."""
    below = np.flatnonzero((log_ratio[1:] <= 0) & (log_ratio[:-1] > 0))
    if len(below) == 0:
        raise NotRun("the curves do not cross within the range of n")
    i, x = below[-1], np.log(n)
    return float(x[i] + (x[i + 1] - x[i]) * log_ratio[i] / (log_ratio[i] - log_ratio[i + 1]))


def log_advantage(trials: pd.DataFrame, kind: str, m: int) -> pd.DataFrame:
    """ln(least squares / pretrained) of the measured ("excess") or "exact" errors of the map, (seeds, n), where n exceeds d by a fifth."""
    rows = select(trials, experiment="map")
    rows = rows[rows.n > 1.2 * rows.d]
    return table(rows.assign(value=np.log(rows[f"{kind}_ols"] / entry(rows, f"{kind}_pretrain", "m", m).to_numpy())), "value", "n")


@claim("crossover-in-labels")
def crossover(trials: pd.DataFrame) -> pd.Series:
    """Both crossings are read from the same grid of n, so that the reading itself cancels."""
    shifts = []
    for m in CROSSING_UNLABELLED:
        measured, exact = (log_advantage(trials, kind, m) for kind in ("excess", "exact"))
        n = measured.columns.to_numpy(float)
        shifts.append([crossing(n, measured.loc[seed].to_numpy()) - crossing(n, exact.loc[seed].to_numpy()) for seed in exact.index])
    return pd.Series(np.mean(shifts, axis=0), index=exact.index)


@claim("misspecified-noise-leaves-a-floor")
def misspecified_rate(trials: pd.DataFrame) -> pd.Series:
    rows = select(trials[trials.rho > 0], experiment="unlabelled")
    upper = slice(len(rows.m.iloc[0]) // 2, None)
    return slope(rows.m.iloc[0][upper], curves(rows, "floor")[:, upper], rows.index)


# ---- mixtures and pairs ----


def mixture_gain(trials: pd.DataFrame) -> pd.Series:
    """Accuracy of the pretrained mixture (largest m) minus that of the best baseline, n = 40."""
    rows = select(trials, experiment="mixture").reset_index()
    errors = {method: entry(of_method, "error", "n", 40).groupby(level=0).last() for method, of_method in largest(rows).groupby("method")}
    pretrained = errors.pop("pretrain")
    return pd.concat(errors, axis=1).min(axis=1) - pretrained


def largest(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the rows that have an m those of the largest, and all others; indexed by seed."""
    return rows[rows.m.isna() | (rows.m == rows.m.max())].set_index("seed").sort_index()


@claim("covers-mixtures-and-contrastive")
def both_gains(trials: pd.DataFrame) -> pd.Series:
    rows = largest(select(trials, experiment="contrastive").reset_index())
    log_ratio = np.log(entry(rows, "excess_ols", "n", 60) / entry(rows, "excess_pretrain", "n", 60))
    return np.minimum(mixture_gain(trials), log_ratio)


@claim("exact-mixture-error")
def mixture_error(trials: pd.DataFrame) -> pd.Series:
    rows = largest(select(trials, experiment="mixture", method="pretrain").reset_index())
    return pd.Series((curves(rows, "mean_error") - curves(rows, "exact_error")).mean(axis=1), index=rows.index) - rows.bayes_error


@claim("exact-mixture-centres")
def mixture_centres(trials: pd.DataFrame) -> pd.Series:
    rows = largest(select(trials, experiment="mixture", method="pretrain").reset_index())
    return rows.centre_error / rows.limit_centre_error


@claim("exact-contrastive-error")
def contrastive_error(trials: pd.DataFrame) -> pd.Series:
    rows = select(trials, experiment="contrastive")
    return (rows.mean_floor / rows.limit_floor).groupby(level="seed").mean()


# ---- images ----


def image_gain(trials: pd.DataFrame, method: str, n: int = 50) -> pd.Series:
    """Accuracy of a method minus that of logistic regression on pixels, mean over the data sets."""
    rows = select(trials, experiment="images")
    return (entry(rows, f"accuracy_{method}", "n", n) - entry(rows, "accuracy_pixels", "n", n)).groupby(level="seed").mean()


@claim("factors-help-on-images")
def factors_on_images(trials: pd.DataFrame) -> pd.Series:
    return image_gain(trials, "factors")


@claim("mixture-helps-on-images")
def mixture_on_images(trials: pd.DataFrame) -> pd.Series:
    return image_gain(trials, "mixture")
