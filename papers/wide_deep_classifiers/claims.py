"""From recorded trials to the claims of paper.toml, one value per seed (exponents: one value per activation)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.effects import log_log_slope
from shared.engine import NotRun, chosen, claim

AGREEMENT_SIZE = 1000


def at_size(rows: pd.DataFrame, metric: str, size: int) -> pd.Series:
    """A curve over n at one n, per seed."""
    places = np.flatnonzero(rows["sizes"].iloc[0] == size)
    if not len(places):
        raise NotRun(f"n = {size} is not among the sizes of this run")
    return rows[metric].map(lambda curve: float(curve[places[0]]))


def at_largest(rows: pd.DataFrame, metric: str) -> pd.Series:
    return rows[metric].map(lambda curve: float(curve[-1]))


def exponents(trials: pd.DataFrame, kind: str) -> tuple[pd.Series, pd.Series]:
    """Fitted exponent and alpha of each activation, which play the role of seeds: the kernels are exact."""
    rows = trials[trials.experiment == "exponent"]
    rows = rows[rows.seed == rows.seed.min()].reset_index(drop=True)
    if rows.empty:
        raise NotRun("no exponent was fitted")
    return rows[f"exponent_{kind}"].astype(float), rows["alpha"].astype(float)


@claim("singular-exponent")
def exponent_ratio(trials: pd.DataFrame) -> pd.Series:
    fitted, alpha = exponents(trials, "nngp")
    return fitted / alpha


@claim("ntk-has-the-same-exponent")
def ntk_exponent_ratio(trials: pd.DataFrame) -> pd.Series:
    fitted, alpha = exponents(trials, "ntk_limit")
    return fitted / alpha


@claim("ntk-of-practical-depth-is-steeper-by-two")
def shallow_ntk_excess(trials: pd.DataFrame) -> pd.Series:
    fitted, alpha = exponents(trials, "ntk")
    return fitted - alpha


@claim("matched-activation-equals-hilbert")
def matched_agreement(trials: pd.DataFrame) -> pd.Series:
    pairs = ((1, "2d_opt"), (2, "3d_opt"))
    return sum(at_size(chosen(trials, experiment="sphere", d=d, activation=a), "as_hilbert", AGREEMENT_SIZE) for d, a in pairs) / len(pairs)


@claim("one-nn-limit")
def nearest_agreement(trials: pd.DataFrame) -> pd.Series:
    return sum(at_size(chosen(trials, experiment="sphere", d=d, activation="hermite_2"), "as_nearest", AGREEMENT_SIZE) for d in (1, 2)) / 2


def relu_agreement(trials: pd.DataFrame, depth: int, metric: str = "as_majority") -> pd.Series:
    return chosen(trials, experiment="relu", layers=depth)[metric].astype(float)


@claim("majority-limit")
def relu_at_depth_of_profile(trials: pd.DataFrame) -> pd.Series:
    """20 000 layers in the cpu profile; the gpu profile has 50 000 in their place."""
    return relu_agreement(trials, 20_000 if (trials.get("layers") == 20_000).any() else 50_000)


@claim("majority-limit-at-the-papers-depth")
def relu_at_50000(trials: pd.DataFrame) -> pd.Series:
    return relu_agreement(trials, 50_000)


@claim("majority-limit-deeper")
def relu_at_200000(trials: pd.DataFrame) -> pd.Series:
    return relu_agreement(trials, 200_000)


@claim("relu-is-majority-where-points-are-far-apart")
def relu_on_far_sphere(trials: pd.DataFrame) -> pd.Series:
    return relu_agreement(trials, 50_000, "as_majority_far")


@claim("relu-follows-its-closed-form")
def relu_closed_form(trials: pd.DataFrame) -> pd.Series:
    return relu_agreement(trials, 50_000, "as_closed_form")


@claim("relu-nears-majority-like-one-over-depth")
def relu_slope(trials: pd.DataFrame) -> pd.Series:
    rows = trials[trials.experiment == "relu"]
    if rows["layers"].nunique() < 2:
        raise NotRun("a slope needs two depths")
    disagreement = 1 - rows.pivot(index="seed", columns="layers", values="as_majority").astype(float)
    return disagreement.apply(lambda row: log_log_slope(disagreement.columns, np.maximum(row, 1e-4)), axis=1)


@claim("nonzero-mean-is-majority")
def majority_agreement(trials: pd.DataFrame) -> pd.Series:
    return sum(at_size(chosen(trials, experiment="sphere", d=d, activation="fast_majority"), "as_majority", AGREEMENT_SIZE) for d in (1, 2)) / 2


@claim("closer-to-bayes-than-1nn")
def gain_over_nearest(trials: pd.DataFrame) -> pd.Series:
    ours = at_largest(chosen(trials, experiment="sphere", d=1, activation="2d_opt"), "accuracy")
    return ours - at_largest(chosen(trials, experiment="sphere", d=1, activation="baselines"), "accuracy_nearest")


@claim("depth-harms-regression-not-classification")
def collapse_and_gain(trials: pd.DataFrame) -> pd.Series:
    rows = chosen(trials, experiment="sweep")
    place = np.flatnonzero(rows["depths"].iloc[0] == 60)
    if not len(place):
        raise NotRun("L = 60 is not among the depths of this run")
    mse, accuracy = (rows[metric].map(lambda curve: float(curve[place[0]])) for metric in ("mse", "accuracy"))
    return np.minimum(mse / rows["mean_square"] - 0.95, accuracy - rows["accuracy_majority"])


@claim("too-singular-stays-below-bayes")
def bayes_minus_limit(trials: pd.DataFrame) -> pd.Series:
    rows = chosen(trials, experiment="limit", ratio=2.0)
    return (rows["expected_bayes"] - rows["expected"]).astype(float)


@claim("limit-of-many-examples-is-the-poisson-vote")
def network_minus_limit(trials: pd.DataFrame) -> pd.Series:
    gaps = []
    for ratio, activation in ((2.0, "3d_opt"), (4.0, "5d_opt"), (8.0, "9d_opt")):
        network = at_largest(chosen(trials, experiment="sphere", d=1, activation=activation), "expected")
        gaps.append(network - chosen(trials, experiment="limit", ratio=ratio)["expected"].astype(float))
    return sum(gaps) / len(gaps)


@claim("finite-networks-approach-the-kernel")
def width_slope(trials: pd.DataFrame) -> pd.Series:
    rows = chosen(trials, experiment="finite")
    return pd.Series({seed: log_log_slope(row["widths"], row["error"]) for seed, row in rows.iterrows()})
