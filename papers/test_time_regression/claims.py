"""From recorded trials to the claims of paper.toml, one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.engine import NotRun, chosen, claim

IDENTITIES = ("recursive_least_squares", "gate_of_one", "delta_as_online_gradient", "softmax_as_rbf_regression", "features_as_kernel_ridge")
IDENTITIES += ("moments_as_local_linear",)


def at_length(rows: pd.DataFrame, curve: str, length: int, lengths: str = "length") -> pd.Series:
    """One value of a recorded curve per seed, at a number of pairs."""
    if length not in rows[lengths].iloc[0]:
        raise NotRun(f"not measured at t = {length}")
    return pd.Series([values[list(at).index(length)] for values, at in zip(rows[curve], rows[lengths], strict=True)], index=rows.index)


def gap(trials: pd.DataFrame, linear: str, rho: float) -> pd.Series:
    """log10 of the error of linear attention over that of exact least squares, t = 128."""
    rows = chosen(trials, experiment="recall", generator="linear", rho=rho)
    return np.log10(at_length(rows, linear, 128) / at_length(rows, "error_least_squares", 128))


@claim("linear-attention-ignores-key-covariance")
def gap_widens(trials: pd.DataFrame) -> pd.Series:
    return gap(trials, "error_linear", 0.9) - gap(trials, "error_linear", 0.0)


@claim("linear-attention-ignores-key-covariance-best-scale")
def gap_widens_at_best_scale(trials: pd.DataFrame) -> pd.Series:
    return gap(trials, "error_linear_best_scale", 0.9) - gap(trials, "error_linear_best_scale", 0.0)


@claim("linear-attention-is-one-gd-step")
def one_step(trials: pd.DataFrame) -> pd.Series:
    return chosen(trials, experiment="identities")[["gradient_step", "preconditioned_step"]].max(axis=1)


@claim("layers-are-regressions")
def other_identities(trials: pd.DataFrame) -> pd.Series:
    return chosen(trials, experiment="identities")[list(IDENTITIES)].max(axis=1)


@claim("qk-norm-makes-softmax-a-local-regressor")
def normalisation(trials: pd.DataFrame) -> pd.Series:
    """Averaged over Dk = 2 and 4."""
    ratios = [np.log(rows.error_without / rows.error_with) for Dk in (2, 4) for rows in [chosen(trials, experiment="norms", sigma_n=0.5, Dk=Dk)]]
    return sum(ratios) / len(ratios)


def constant_over_linear(trials: pd.DataFrame, domain: str, Dk: int) -> pd.Series:
    rows = chosen(trials, experiment="smooth", domain=domain, Dk=Dk)
    return np.log(rows.error_p0 / rows.error_p1)


@claim("local-linear-beats-local-constant")
def first_order(trials: pd.DataFrame) -> pd.Series:
    return constant_over_linear(trials, "cube", 2)


@claim("local-linear-beats-local-constant-on-the-sphere")
def first_order_on_the_sphere(trials: pd.DataFrame) -> pd.Series:
    return constant_over_linear(trials, "sphere", 4)


def convolution_gain(rows: pd.DataFrame) -> pd.Series:
    """Accuracy with convolution minus without; of exact least squares and softmax attention, the smaller gain."""
    gains = [rows[f"accuracy_{layer}_conv"] - rows[f"accuracy_{layer}_plain"] for layer in ("least_squares", "softmax")]
    return np.minimum(*gains)


@claim("one-layer-with-short-conv-solves-mqar")
def recall_by_convolution(trials: pd.DataFrame) -> pd.Series:
    return convolution_gain(chosen(trials, experiment="mqar", pairs=16))


@claim("one-layer-recalls-repeated-bigrams-of-text")
def recall_in_text(trials: pd.DataFrame) -> pd.Series:
    return convolution_gain(chosen(trials, experiment="text"))


@claim("higher-order-costs-more")
def cost(trials: pd.DataFrame) -> pd.Series:
    """The cheaper of our two forms of local linear attention (by moments) is the one that is held against softmax attention."""
    rows = chosen(trials, experiment="timing")
    return at_length(rows, "p1_seconds", 1024, "timing_length") / at_length(rows, "p0_seconds", 1024, "timing_length")


@claim("decaying-weights-follow-a-switch")
def forgetting(trials: pd.DataFrame) -> pd.Series:
    rows = chosen(trials, experiment="recall", generator="switch")
    length = rows["length"].iloc[0][0] + 64
    return np.log10(at_length(rows, "error_least_squares", length) / at_length(rows, "error_discounted_least_squares", length))
