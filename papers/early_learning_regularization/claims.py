"""From recorded trials to the claims of paper.toml, one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.engine import chosen, claim


def deep(trials: pd.DataFrame, **condition) -> pd.DataFrame:
    """The rows of a deep run: CIFAR-10 where it was trained on, else the digits."""
    photographs = (trials["part"] == "photographs").any()
    part = {"part": "photographs", "kind": "symmetric"} if photographs else {"part": "digits", "schedule": "constant"}
    return chosen(trials, **part, **condition)


def last(rows: pd.DataFrame, metric: str) -> pd.Series:
    """The last entry of a curve, per seed."""
    return rows[metric].map(lambda curve: float(curve[-1]))


@claim("linear-coefficients-cross")
def coefficients_cross(trials: pd.DataFrame) -> pd.Series:
    rows = chosen(trials, part="passage", sigma=0.02)
    rise = rows["kappa2_wrong_T"] - rows["kappa2_wrong_start"]
    fall = rows["kappa2_right_start"] - rows["kappa2_right_T"]
    return pd.concat([rise, fall], axis=1).astype(float).min(axis=1)


@claim("linear-early-then-memorise")
def early_then_memorise(trials: pd.DataFrame) -> pd.Series:
    curves = chosen(trials, part="linear", loss="ce", radius=0.1)["wrong_correct"]
    return curves.map(lambda curve: float(np.max(curve) - curve[-1]))


@claim("elr-stops-memorisation")
def memorised_ce_minus_elr(trials: pd.DataFrame) -> pd.Series:
    ce, elr = (deep(trials, loss=name, noise=0.4) for name in ("ce", "elr"))
    return last(ce, "wrong_memorised") - last(elr, "wrong_memorised")


@claim("elr-beats-ce")
def accuracy_elr_minus_ce(trials: pd.DataFrame) -> pd.Series:
    ce, elr = (deep(trials, loss=name, noise=0.4) for name in ("ce", "elr"))
    return last(elr, "test_accuracy") - last(ce, "test_accuracy")


@claim("kl-regulariser-fails")
def memorised_best_kl_minus_elr(trials: pd.DataFrame) -> pd.Series:
    return best_kl_minus_elr(digits(trials, "constant"))


def digits(trials: pd.DataFrame, schedule: str) -> pd.DataFrame:
    """The digits runs at 40 % noise under a schedule of the step size: the only ones with all three strengths of the KL term."""
    return trials[(trials["part"] == "digits") & (trials["schedule"] == schedule) & (trials["noise"] == 0.4)]


def best_kl_minus_elr(trials: pd.DataFrame) -> pd.Series:
    kl = [last(chosen(trials, loss="kl", lam=lam), "wrong_memorised") for lam in (1.0, 5.0, 10.0)]
    return pd.concat(kl, axis=1).min(axis=1) - last(chosen(trials, loss="elr"), "wrong_memorised")


@claim("decay-elr-stops-memorisation")
def decay_memorised_ce_minus_elr(trials: pd.DataFrame) -> pd.Series:
    ce, elr = (last(chosen(digits(trials, "decay"), loss=name), "wrong_memorised") for name in ("ce", "elr"))
    return ce - elr


@claim("decay-elr-beats-ce")
def decay_accuracy_elr_minus_ce(trials: pd.DataFrame) -> pd.Series:
    ce, elr = (last(chosen(digits(trials, "decay"), loss=name), "test_accuracy") for name in ("ce", "elr"))
    return elr - ce


@claim("decay-kl-regulariser-fails")
def decay_memorised_best_kl_minus_elr(trials: pd.DataFrame) -> pd.Series:
    return best_kl_minus_elr(digits(trials, "decay"))


@claim("averaging-needed")
def accuracy_with_minus_without_averaging(trials: pd.DataFrame) -> pd.Series:
    runs = trials[(trials["part"] == "digits") & (trials["schedule"] == "constant") & (trials["noise"] == 0.6)]
    with_averaging, without = (last(chosen(runs, loss="elr", beta=beta), "test_accuracy") for beta in (0.7, 0.0))
    return with_averaging - without
