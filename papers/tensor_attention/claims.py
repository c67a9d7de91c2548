"""From recorded trials to the claims of paper.toml, one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.engine import NotRun, claim


def only(trials: pd.DataFrame, **condition) -> pd.DataFrame:
    """The rows of a condition, indexed by seed; NotRun when there are none."""
    for name, value in condition.items():
        trials = trials[trials[name] == value] if name in trials else trials[:0]
    if trials.empty:
        raise NotRun(f"not measured: {', '.join(f'{name} = {value}' for name, value in condition.items())}")
    return trials.set_index("seed").sort_index()


def slope(x, y) -> float:
    """Least-squares slope of log y on log x."""
    return np.polyfit(np.log(x), np.log(y), 1)[0]


def time_slope(trials: pd.DataFrame, **condition) -> pd.Series:
    """Slope of time on n over the three largest n."""
    timed = only(trials, experiment="time", **condition)
    return timed.apply(lambda row: slope(row.length[-3:], row.call_seconds[-3:]), axis=1)


def taylor_error(trials: pd.DataFrame, g: int, **condition) -> pd.Series:
    """max |fast - exact| with the Taylor polynomial of degree g."""
    measured = only(trials, experiment="error", d=4, **condition)
    if g not in measured.iloc[0].degree:
        raise NotRun(f"not measured: degree {g}")
    return measured.apply(lambda row: row.error_taylor[list(row.degree).index(g)], axis=1)


@claim("fast-algorithm-near-linear")
def fast_slope(trials: pd.DataFrame) -> pd.Series:
    return time_slope(trials, algorithm="fast", d=4, g=6)


@claim("naive-algorithm-cubic")
def exact_slope(trials: pd.DataFrame) -> pd.Series:
    return time_slope(trials, algorithm="exact", d=4)


@claim("small-entries-small-error")
def error_as_power_of_n(trials: pd.DataFrame) -> pd.Series:
    return np.log(taylor_error(trials, 6, entries="uniform", n=256, B=1.0)) / np.log(256)


@claim("small-entries-small-error-at-worst")
def error_as_power_of_n_for_signs(trials: pd.DataFrame) -> pd.Series:
    return np.log(taylor_error(trials, 6, entries="signs", n=256, B=1.0)) / np.log(256)


@claim("error-blows-up-with-entry-size")
def decades_of_error(trials: pd.DataFrame) -> pd.Series:
    small, large = (taylor_error(trials, 6, entries="uniform", n=64, B=B) for B in (1.0, 2.0))
    return np.log10(large) - np.log10(small)


def degree_slope(trials: pd.DataFrame, order: int) -> pd.Series:
    """Slope of the degree needed on B, over B in [1.5, 2.4]."""

    def of(row) -> float:
        inside = (row.bound >= 1.5) & (row.bound <= 2.4)
        return slope(row.bound[inside], row.degree_needed[inside])

    return only(trials, experiment="degree", order=order).apply(of, axis=1)


@claim("degree-grows-with-order")
def slope_gained_by_an_order(trials: pd.DataFrame) -> pd.Series:
    return degree_slope(trials, 3) - degree_slope(trials, 2)


@claim("match3-by-construction")
def instances_solved(trials: pd.DataFrame) -> pd.Series:
    return trials[trials.experiment == "match3"].groupby("seed").solved.mean()


@claim("tensor-attention-detects-triples")
def accuracy_over_best_matrix_layer(trials: pd.DataFrame) -> pd.Series:
    tensor = only(trials, experiment="trained", order=3).test_accuracy
    return tensor - trials[(trials.experiment == "trained") & (trials.order == 2)].groupby("seed").test_accuracy.max()
