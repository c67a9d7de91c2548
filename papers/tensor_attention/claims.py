"""From recorded trials to the claims of paper.toml, one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papers.tensor_attention.model import error_guarantee
from shared.effects import log_log_slope, matched_difference
from shared.engine import NotRun, claim


def only(trials: pd.DataFrame, **condition) -> pd.DataFrame:
    """The rows of a condition, indexed by seed; NotRun when there are none."""
    for name, value in condition.items():
        trials = trials[trials[name] == value] if name in trials else trials[:0]
    if trials.empty:
        raise NotRun(f"not measured: {', '.join(f'{name} = {value}' for name, value in condition.items())}")
    return trials.set_index("seed").sort_index()


def time_slope(trials: pd.DataFrame, **condition) -> pd.Series:
    """Slope of time on n over the three largest n."""
    timed = only(trials, experiment="time", **condition)
    return timed.apply(lambda row: log_log_slope(row.length[-3:], row.call_seconds[-3:]), axis=1)


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


def crossover(n, exact_seconds, fast_seconds) -> float:
    """The last n at which exact / fast passes 1 on the way up, interpolated on log-log axes; the ends of n when it never does."""
    gain = np.log(exact_seconds) - np.log(fast_seconds)
    slower = np.flatnonzero(gain < 0)  # where the fast algorithm is slower
    if len(slower) == 0:
        return float(n[0])
    if slower[-1] == len(n) - 1:
        return float(n[-1])
    around = slice(slower[-1], slower[-1] + 2)
    return float(np.exp(np.interp(0, gain[around], np.log(n[around]))))


@claim("crossover-at-short-sequences")
def length_of_crossover(trials: pd.DataFrame) -> pd.Series:
    exact, fast = only(trials, experiment="time", algorithm="exact", d=4), only(trials, experiment="time", algorithm="fast", d=4, g=6)

    def of(seed) -> float:
        n, at_exact, at_fast = np.intersect1d(exact.length[seed], fast.length[seed], return_indices=True)
        if len(n) < 2:
            raise NotRun("not measured: both algorithms at the same lengths")
        return crossover(n, exact.call_seconds[seed][at_exact], fast.call_seconds[seed][at_fast])

    return pd.Series({seed: of(seed) for seed in exact.index})


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


@claim("error-within-guarantee")
def error_over_guarantee(trials: pd.DataFrame) -> pd.Series:
    def largest_ratio(row) -> float:
        eps = row.chebyshev_relative_error
        bound = error_guarantee(eps, row.B)
        judged = (eps < 0.5) & (bound >= 1e-12)
        return np.max(row.error_chebyshev / bound, where=judged, initial=0.0)

    measured = trials[trials.experiment == "error"]
    return measured.apply(largest_ratio, axis=1).groupby(measured.seed).max()


def degree_slope(trials: pd.DataFrame, order: int) -> pd.Series:
    """Slope of the degree needed on B, over B in [1.5, 2.4]."""

    def of(row) -> float:
        inside = (row.bound >= 1.5) & (row.bound <= 2.4)
        return log_log_slope(row.bound[inside], row.degree_needed[inside])

    return only(trials, experiment="degree", order=order).apply(of, axis=1)


@claim("degree-grows-with-order")
def slope_gained_by_an_order(trials: pd.DataFrame) -> pd.Series:
    return degree_slope(trials, 3) - degree_slope(trials, 2)


@claim("match3-by-construction")
def instances_solved(trials: pd.DataFrame) -> pd.Series:
    return trials[trials.experiment == "match3"].groupby("seed").solved.mean()


def best_matrix_layer(trials: pd.DataFrame, metric: str) -> pd.Series:
    matrix = trials[(trials.experiment == "trained") & (trials.order == 2)]
    return matrix.groupby("seed")[metric].max()


@claim("tensor-attention-detects-triples")
def accuracy_over_best_matrix_layer(trials: pd.DataFrame) -> pd.Series:
    return only(trials, experiment="trained", order=3).test_accuracy - best_matrix_layer(trials, "test_accuracy")


@claim("tensor-head-beats-one-matrix-head")
def accuracy_over_one_matrix_head(trials: pd.DataFrame) -> pd.Series:
    return matched_difference(trials, "test_accuracy", {"experiment": "trained", "order": 3}, {"experiment": "trained", "order": 2, "heads": 1})


@claim("tensor-attention-finds-three-distinct-tokens")
def triples_accuracy_over_best_matrix_layer(trials: pd.DataFrame) -> pd.Series:
    return only(trials, experiment="trained", order=3).triples_accuracy - best_matrix_layer(trials, "triples_accuracy")
