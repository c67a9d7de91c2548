"""From recorded trials to the claims of paper.toml, one value per seed; a timed repeat is a seed."""

from __future__ import annotations

import pandas as pd

from shared.effects import log_log_slope
from shared.engine import NotRun, claim


def learned(trials: pd.DataFrame, reader: str, metric: str) -> pd.DataFrame:
    """Accuracy by seed (rows) and by d (columns, ascending)."""
    rows = trials[(trials["experiment"] == "disjointness") & (trials["reader"] == reader)]
    if rows.empty:
        raise NotRun(f"not measured: {reader}")
    return rows.pivot(index="seed", columns="d", values=metric).astype(float)


def timed(trials: pd.DataFrame) -> pd.DataFrame:
    """The repeats of the prefill benchmark over N, indexed by seed."""
    rows = trials[trials["experiment"] == "prefill"]
    rows = rows[rows["sweep"] == "length"] if len(rows) else rows
    if rows.empty:
        raise NotRun("prefill was not timed")
    return rows.set_index("seed")


@claim("order-matters-for-causal-recurrence")
def gap_between_orders(trials: pd.DataFrame) -> pd.Series:
    """At the smallest state."""
    gap = learned(trials, "causal", "accuracy_short_first") - learned(trials, "causal", "accuracy_long_first")
    return gap[gap.columns[0]]


@claim("order-gap-shrinks-with-state")
def gap_lost_with_a_larger_state(trials: pd.DataFrame) -> pd.Series:
    gap = learned(trials, "causal", "accuracy_short_first") - learned(trials, "causal", "accuracy_long_first")
    if gap.shape[1] < 2:
        raise NotRun("needs two state sizes")
    return gap[gap.columns[0]] - gap[gap.columns[-1]]


def gain_on_long_first(trials: pd.DataFrame, reader: str) -> pd.Series:
    """Over the causal reader, mean over state sizes."""
    metric = "accuracy_long_first"
    return (learned(trials, reader, metric) - learned(trials, "causal", metric)).mean(axis=1)


@claim("non-causal-wins-when-long-set-first")
def gain_of_the_noncausal_reader(trials: pd.DataFrame) -> pd.Series:
    return gain_on_long_first(trials, "noncausal")


@claim("reading-twice-helps")
def gain_of_reading_twice(trials: pd.DataFrame) -> pd.Series:
    return gain_on_long_first(trials, "repeated")


@claim("prefix-linear-attention-helps")
def gain_of_the_prefix(trials: pd.DataFrame) -> pd.Series:
    return gain_on_long_first(trials, "prefix")


@claim("prefill-linear-vs-quadratic")
def slope_difference(trials: pd.DataFrame) -> pd.Series:
    def of(row) -> float:
        return log_log_slope(row["N"][-3:], row["seconds_softmax"][-3:]) - log_log_slope(row["N"][-3:], row["seconds_jrt_rnn"][-3:])

    rows = timed(trials)
    if len(rows["N"].iloc[0]) < 3:
        raise NotRun("needs three lengths")
    return rows.apply(of, axis=1)


def speedup(trials: pd.DataFrame, method: str) -> pd.Series:
    """Seconds of softmax attention over those of the method, at the largest N."""
    return timed(trials).apply(lambda row: row["seconds_softmax"][-1] / row[f"seconds_{method}"][-1], axis=1)


@claim("jrt-rnn-prefill-speedup")
def speedup_of_jrt_rnn(trials: pd.DataFrame) -> pd.Series:
    return speedup(trials, "jrt_rnn")


@claim("jrt-rnn-prefill-speedup-normalised")
def speedup_of_jrt_rnn_normalised(trials: pd.DataFrame) -> pd.Series:
    return speedup(trials, "jrt_rnn_normalised")


@claim("jrt-prompt-prefill-speedup")
def speedup_of_jrt_prompt(trials: pd.DataFrame) -> pd.Series:
    return speedup(trials, "jrt_prompt")
