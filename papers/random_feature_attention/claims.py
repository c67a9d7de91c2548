"""From recorded trials to the claims' metrics, one value per seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from shared.effects import log_log_slope
from shared.engine import NotRun, claim

LEVEL = 0.1
"""The normalised test error at which a target counts as learned."""


class Setting(NamedTuple):
    """Where methods are compared: n = 600, N = 8 and M = 150 in the cpu profile."""

    n: int
    N: int
    M: int


def setting(trials: pd.DataFrame) -> Setting:
    """Read off the trials: kernel limits are computed for one n and N, learning curves drawn with one M."""
    limit, samples = trials[trials["experiment"] == "limit"], trials[trials["experiment"] == "samples"]
    if limit.empty or samples.empty:
        raise NotRun("needs the experiments samples and limit")
    return Setting(int(np.asarray(limit["n"].iloc[0])[0]), int(limit["N"].iloc[0]), int(samples["M"].iloc[0]))


def curves(trials: pd.DataFrame, target: str, **condition) -> tuple[np.ndarray, pd.DataFrame]:
    """n (sizes,) and the errors (seeds x sizes, indexed by seed) of one condition; NotRun when it was not measured."""
    rows = trials
    for name, value in condition.items():
        rows = rows[rows[name] == value] if name in rows else rows[:0]
    if rows.empty:
        raise NotRun(f"not measured: {condition}")
    n = np.asarray(rows["n"].iloc[0])
    return n, pd.DataFrame(np.stack(rows[target].to_list()).astype(float), index=pd.Index(rows["seed"], name="seed"))


def error_at(trials: pd.DataFrame, target: str, n: int, **condition) -> pd.Series:
    """Error with n examples, indexed by seed."""
    sizes, errors = curves(trials, target, **condition)
    if n not in sizes:
        raise NotRun(f"n = {n} is not among the sizes of {condition}")
    return errors[int(np.flatnonzero(sizes == n)[0])]


def samples_needed(n: np.ndarray, error: np.ndarray, level: float = LEVEL) -> float:
    """n_0.1: the first n where the error falls below the level, interpolated on log-log axes; infinite when it never does."""
    below = error < level
    if not below.any():
        return float("inf")
    i = int(below.argmax())
    if i == 0:
        return float(n[0])
    share = np.log(error[i - 1] / level) / np.log(error[i - 1] / error[i])
    return float(np.exp(np.log(n[i - 1]) + share * np.log(n[i] / n[i - 1])))


def log_advantage(trials: pd.DataFrame, target: str, n: int, **condition) -> pd.Series:
    """log10(err_RFMLP / err_RFA)"""
    mlp, rfa = (error_at(trials, target, n, features=features, **condition) for features in ("rfmlp", "rfa"))
    return np.log10(mlp / rfa)


@claim("rfa-beats-rfmlp-on-averages")
def advantage_on_averages(trials: pd.DataFrame) -> pd.Series:
    where = {"experiment": "samples", "N": setting(trials).N}
    n, _ = curves(trials, "avg_2", features="rfa", **where)
    return log_advantage(trials, "avg_2", n.max(), **where)


@claim("advantage-grows-with-number-of-tokens")
def growth_of_the_advantage(trials: pd.DataFrame) -> pd.Series:
    """From two tokens to eight, mean over avg_1 and avg_2."""
    n = setting(trials).n
    many, few = (sum(log_advantage(trials, target, n, experiment="samples", N=N) for target in ("avg_1", "avg_2")) / 2 for N in (8, 2))
    return many - few


@claim("complexity-of-target-matters")
def cubic_minus_linear(trials: pd.DataFrame) -> pd.Series:
    n, N, _ = setting(trials)
    cubic, linear = (error_at(trials, target, n, experiment="samples", features="rfa", N=N) for target in ("avg_3", "avg_1"))
    return cubic - linear


def cost_of_bias(trials: pd.DataFrame, target: str) -> pd.Series:
    """err_BRFA - err_RFA with b = 1 and standard deviation 0.2."""
    n, N, _ = setting(trials)
    biased = error_at(trials, target, n, experiment="samples", features="brfa", b=1.0, std=0.2)
    return biased - error_at(trials, target, n, experiment="samples", features="rfa", N=N)


@claim("nonzero-mean-helps-correlation-weighted")
def gain_from_bias(trials: pd.DataFrame) -> pd.Series:
    return -cost_of_bias(trials, "cos_3")


@claim("nonzero-mean-is-not-free")
def loss_from_bias(trials: pd.DataFrame) -> pd.Series:
    return cost_of_bias(trials, "avg_2")


def error_with_heads(trials: pd.DataFrame, target: str, heads: int, features: str) -> pd.Series:
    """Error at the setting's n and N; its own number of heads was run among the learning curves."""
    n, N, M = setting(trials)
    where = {"experiment": "samples", "N": N} if heads == M else {"experiment": "heads", "M": heads}
    return error_at(trials, target, n, features=features, **where)


def numbers_of_heads(trials: pd.DataFrame) -> list[int]:
    return sorted({setting(trials).M, *(int(M) for M in trials.loc[trials["experiment"] == "heads", "M"].unique())})


def error_in_the_limit(trials: pd.DataFrame) -> pd.Series:
    return error_at(trials, "avg_2", setting(trials).n, experiment="limit", features="rfa")


@claim("finitely-many-heads-suffice")
def ratio_to_the_limit(trials: pd.DataFrame) -> pd.Series:
    return error_with_heads(trials, "avg_2", setting(trials).M, "rfa") / error_in_the_limit(trials)


@claim("a-thousand-heads-suffice")
def ratio_to_the_limit_with_a_thousand_heads(trials: pd.DataFrame) -> pd.Series:
    return error_with_heads(trials, "avg_2", 1000, "rfa") / error_in_the_limit(trials)


@claim("excess-of-finitely-many-heads-falls-as-one-over-m")
def slope_of_the_excess(trials: pd.DataFrame) -> pd.Series:
    """Of ln(err(M) - err(limit)) on ln M, over M from 100 to 1000."""
    limit = error_in_the_limit(trials)
    table = pd.DataFrame({M: error_with_heads(trials, "avg_2", M, "rfa") - limit for M in numbers_of_heads(trials) if 100 <= M <= 1000})
    if table.shape[1] < 2 or not (table > 0).all(axis=None):
        raise NotRun("needs two numbers of heads from 100 to 1000, with errors above the limit's")
    return pd.Series(log_log_slope(table.columns.to_numpy(), table.to_numpy()), index=table.index)


def slope_on_tokens(trials: pd.DataFrame, features: str) -> pd.Series:
    """Slope of ln n_0.1 on ln N for avg_1."""
    numbers = sorted(trials.loc[(trials["experiment"] == "samples") & (trials["features"] == features), "N"].unique())
    needed = {}
    for N in numbers:
        n, errors = curves(trials, "avg_1", experiment="samples", features=features, N=N)
        needed[int(N)] = errors.apply(lambda error, n=n: samples_needed(n, error.to_numpy()), axis=1)
    table = pd.DataFrame(needed)
    if table.shape[1] < 2 or not np.isfinite(table).all(axis=None):
        raise NotRun(f"needs two numbers of tokens, with an error of {LEVEL} reached at each")
    return pd.Series(log_log_slope(table.columns.to_numpy(), table.to_numpy()), index=table.index)


@claim("rfa-samples-do-not-grow-with-tokens")
def slope_of_attention(trials: pd.DataFrame) -> pd.Series:
    return slope_on_tokens(trials, "rfa")


@claim("rfmlp-samples-grow-with-tokens")
def slope_of_the_mlp(trials: pd.DataFrame) -> pd.Series:
    return slope_on_tokens(trials, "rfmlp")


@claim("rfa-beats-rfmlp-on-sets-of-digit-blocks")
def advantage_on_digits(trials: pd.DataFrame) -> pd.Series:
    """With as many images as there are, blocks in random order."""
    n, _ = curves(trials, "ink", experiment="digits", features="rfa", order="shuffled")
    return log_advantage(trials, "ink", n.max(), experiment="digits", order="shuffled")
