"""From the recorded trials to the number that each claim is about, one per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.engine import NotRun, claim


def layer(trials: pd.DataFrame, H: int, attention: str = "softmax") -> pd.DataFrame:
    """The rows, by seed, of the layer with H heads trained on isotropic covariates; NotRun when it was not trained."""
    if "H" not in trials:
        raise NotRun("no layer was trained")
    rows = trials[(trials["experiment"] == "isotropic") & (trials["attention"] == attention) & (trials["H"] == H)]
    if rows.empty:
        raise NotRun(f"{attention} attention with H = {H} was not trained")
    return rows.set_index("seed")


def at_length(rows: pd.DataFrame, L: int, metric: str = "errors") -> pd.Series:
    """A seed's test error at prompt length L."""
    tested = {seed: dict(zip(np.asarray(row["lengths"]), np.asarray(row[metric]), strict=True)) for seed, row in rows.iterrows()}
    if any(L not in errors for errors in tested.values()):
        raise NotRun(f"prompts of {L} examples were not tested")
    return pd.Series({seed: errors[L] for seed, errors in tested.items()})


@claim("multi-head-beats-single-head")
def multi_head_gain(trials: pd.DataFrame) -> pd.Series:
    return layer(trials, 1)["error"] - layer(trials, 2)["error"]


@claim("two-heads-suffice")
def more_heads_gain(trials: pd.DataFrame) -> pd.Series:
    return layer(trials, 2)["error"] - layer(trials, 4)["error"]


@claim("kq-diagonal-homogeneous")
def diagonal_ratio(trials: pd.DataFrame) -> pd.Series:
    return layer(trials, 2)["diag_ratio"]


@claim("ov-zero-sum")
def zero_sum(trials: pd.DataFrame) -> pd.Series:
    return layer(trials, 4)["mu_sum_ratio"]


@claim("implements-debiased-gd")
def distance_to_debiased(trials: pd.DataFrame) -> pd.Series:
    return layer(trials, 2)["distance_to_debiased"]


@claim("softmax-length-generalises-linear-does-not")
def linear_length_gap(trials: pd.DataFrame) -> pd.Series:
    return at_length(layer(trials, 2, "linear"), 100) - at_length(layer(trials, 2), 100)


# ---- beyond the spec ----


@claim("kq-diagonal-untrained-column")
def diagonal_ratio_whole(trials: pd.DataFrame) -> pd.Series:
    return layer(trials, 2)["diag_ratio_whole"]


@claim("two-heads-part-into-signs")
def parted(trials: pd.DataFrame) -> pd.Series:
    return layer(trials, 2)["curve_omega"].map(lambda omega: float(omega[-1].min() < 0 < omega[-1].max()))


@claim("four-heads-beat-single-head")
def four_head_gain(trials: pd.DataFrame) -> pd.Series:
    return layer(trials, 1)["error"] - layer(trials, 4)["error"]


@claim("four-heads-implement-debiased-gd")
def distance_to_debiased_of_four(trials: pd.DataFrame) -> pd.Series:
    return layer(trials, 4)["distance_to_debiased"]


@claim("eight-heads-like-four")
def eight_heads_gain(trials: pd.DataFrame) -> pd.Series:
    return layer(trials, 4)["error"] - layer(trials, 8)["error"]
