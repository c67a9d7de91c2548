"""The claims of paper.toml, each as one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.effects import first_crossing, matched_difference
from shared.engine import NotRun, claim

LAST = 3
"""Last points of a curve that its final value is the mean of."""


def crossing(steps: np.ndarray, curve: np.ndarray, level: float) -> float:
    """The step at which ``curve`` first reaches ``level``, on a line between evaluations."""
    step = first_crossing(steps, curve, level)
    if step is None:
        raise ValueError(f"the curve never reaches {level:g}")
    return step


def half_rise(steps: np.ndarray, curve: np.ndarray) -> float:
    """The step at which a curve is first half-way from its value before training to its final one."""
    final = curve[-LAST:].mean()
    if final <= curve[0]:
        raise NotRun("a curve ends no higher than it began")
    return crossing(steps, curve, (curve[0] + final) / 2)


def width_of_rise(steps: np.ndarray, curve: np.ndarray, floor: float = 0.0) -> float:
    """(step at 80 % minus step at 20 %) / step at 20 %, where 0 % is ``floor`` and 100 % the final value; 1 where the final value is at most one half."""
    final = curve[-LAST:].mean()
    if final <= 0.5:
        return 1.0
    start, end = (crossing(steps, curve, floor + share * (final - floor)) for share in (0.2, 0.8))
    if start == 0:
        raise NotRun("the rise begins before training")
    return (end - start) / start


def sweep(trials: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """The sweep over noises or Zipf exponents, with the trial of the grid that has the same K and B; one row per setting and seed."""
    rows, grid = trials[trials.experiment == experiment], trials[trials.experiment == "grid"]
    same = grid[grid.K.isin(rows.K) & grid.B.isin(rows.B)]
    return pd.concat([rows, same]).drop_duplicates(["eps", "alpha", "seed"])


def abrupt(trials: pd.DataFrame) -> pd.DataFrame:
    """Experiment E1, indexed by seed."""
    return trials[trials.experiment == "abrupt"].set_index("seed")


@claim("icl-appears-abruptly")
def abruptness(trials: pd.DataFrame) -> pd.Series:
    """Width of the rise of in-context accuracy, in units of the time before it."""
    return abrupt(trials).apply(lambda row: width_of_rise(row.steps, row.curve_ic), axis=1)


@claim("burstiness-and-classes-favour-icl")
def classes_and_burstiness(trials: pd.DataFrame) -> pd.Series:
    """IC - IW accuracy with most classes and B = 2, minus the same with fewest classes and B = 1."""
    if not {1, 2} <= set(trials[trials.experiment == "grid"].B):
        raise NotRun("B = 1 and B = 2 were not both run")
    rows = trials[trials.experiment == "grid"].assign(preference=lambda rows: rows.final_ic - rows.final_iw)
    return matched_difference(rows, "preference", {"K": rows.K.max(), "B": 2}, {"K": rows.K.min(), "B": 1})


@claim("induction-head-explains-icl")
def alignment(trials: pd.DataFrame) -> pd.Series:
    """Correlation over training of in-context accuracy with the second layer's attention to the right label."""
    return abrupt(trials).apply(lambda row: np.corrcoef(row.curve_ic, row.curve_tila)[0, 1], axis=1)


@claim("context-label-stage-comes-first")
def stage_before(trials: pd.DataFrame) -> pd.Series:
    """Half-rise of in-context accuracy over half-rise of answering with some label of the context."""
    return abrupt(trials).apply(lambda row: half_rise(row.steps, row.curve_ic) / half_rise(row.steps, row.curve_cla), axis=1)


@claim("l-equals-n-slows-phenomenological-learning")
def slowdown(trials: pd.DataFrame) -> pd.Series:
    """log of the ratio of learning times, every label in the context against most of them not, averaged over starts."""
    rows = trials[trials.experiment == "nested logits"]
    times = {L: by_L.set_index("seed").learnt_after for L, by_L in rows.groupby("L")}
    fewest, most = min(times), max(times)
    return pd.Series({seed: np.log(times[fewest][seed] / times[most][seed]).mean() for seed in times[most].index})


@claim("zipf-one-gives-both")
def both_at_zipf_one(trials: pd.DataFrame) -> pd.Series:
    """The smaller of IC and IW accuracy, at alpha = 1 minus at alpha = 0."""
    rows = sweep(trials, "zipf").assign(both=lambda rows: rows[["final_ic", "final_iw"]].min(axis=1))
    if not {0.0, 1.0} <= set(rows.alpha):
        raise NotRun("the Zipf exponents 0 and 1 were not both run")
    return matched_difference(rows, "both", {"alpha": 1.0}, {"alpha": 0.0})


# ---- claims of this replication's own ----


@claim("rise-above-the-context-label-plateau-is-abrupt")
def abruptness_above_plateau(trials: pd.DataFrame) -> pd.Series:
    """Width of the rise from the accuracy that any label of the context gives."""
    return abrupt(trials).apply(lambda row: width_of_rise(row.steps, row.curve_ic, floor=row.B / row.pairs), axis=1)


@claim("noise-favours-icl")
def noise(trials: pd.DataFrame) -> pd.Series:
    """IC - IW accuracy with the largest within-class noise, minus the same with the smallest."""
    rows = sweep(trials, "noise").assign(preference=lambda rows: rows.final_ic - rows.final_iw)
    if rows.eps.nunique() < 2:
        raise NotRun("one noise only was run")
    return matched_difference(rows, "preference", {"eps": rows.eps.max()}, {"eps": rows.eps.min()})


@claim("context-label-bias-speeds-the-induction-head")
def bias_speeds_up(trials: pd.DataFrame) -> pd.Series:
    """log of how much longer the reduced model takes to half of perfect accuracy without its context-label stage."""
    rows = trials[trials.experiment == "induction head"]
    late = rows.assign(log_time=rows.apply(lambda row: np.log(crossing(row.steps, row.curve_ic, 0.5) if row.curve_ic.max() >= 0.5 else row.steps[-1]), axis=1))
    return matched_difference(late, "log_time", {"stage": False}, {"stage": True})
