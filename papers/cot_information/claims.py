"""From recorded trials to the claims of paper.toml, one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papers.cot_information.model import relative_value
from shared.engine import NotRun, claim


def rows(trials: pd.DataFrame, **condition) -> pd.DataFrame:
    """The rows of one condition, indexed by seed."""
    chosen = trials
    for name, value in condition.items():
        chosen = chosen[chosen[name] == value] if name in chosen else chosen[:0]
    if chosen.empty:
        raise NotRun(f"nothing was measured at {condition}")
    return chosen.set_index("seed")


def full_trace(trials: pd.DataFrame) -> pd.DataFrame:
    """The reference automaton at the largest detail of the trace."""
    return rows(trials, experiment="automaton", detail=rows(trials, experiment="automaton").detail.max())


@claim("dfa-value-of-cot-about-600")
def value_for_the_reference_automaton(trials: pd.DataFrame) -> pd.Series:
    return predicted(full_trace(trials)[["survival", "eps_plus"]].astype(float))


@claim("dfa-empirical-gain")
def measured_gain_for_the_reference_automaton(trials: pd.DataFrame) -> pd.Series:
    return rows(trials, experiment="automaton", detail=0).needed / full_trace(trials).needed.mean()


@claim("linear-class-gain-about-5")
def measured_gain_of_linear_thresholds(trials: pd.DataFrame) -> pd.Series:
    return geometric_mean_gain(rows(trials, experiment="linear", threshold=">=", bits="0, 1"))


@claim("linear-class-gain-about-5-with-signs")
def measured_gain_of_linear_thresholds_on_signs(trials: pd.DataFrame) -> pd.Series:
    return geometric_mean_gain(rows(trials, experiment="linear", threshold=">=", bits="-1, 1"))


def geometric_mean_gain(targets: pd.DataFrame) -> pd.Series:
    """Per seed, over its targets; m_emp of a target is a mean over streams."""
    return targets.apply(lambda row: np.exp(np.log(measured(row)).mean()), axis=1)


@claim("theory-predicts-measurement")
def correlation_for_linear_thresholds(trials: pd.DataFrame) -> pd.Series:
    return rows(trials, experiment="linear", threshold=">=", bits="0, 1").apply(correlation, axis=1)


@claim("theory-predicts-measurement-dfa")
def correlation_for_automata(trials: pd.DataFrame) -> pd.Series:
    return rows(trials, experiment="random automata").apply(correlation, axis=1)


def predicted(row):
    """I(0) / eps+ of each target."""
    return relative_value(row.survival, row.eps_plus)


def measured(row: pd.Series) -> np.ndarray:
    """m_emp(E2E) / m_emp(CoT) at eps = 0 for each target of a seed."""
    return row.needed_e2e / row.needed_cot


def correlation(row: pd.Series) -> float:
    """Pearson correlation of the logarithms of I(0) / eps+ and of the measured ratio, over the targets of a seed for which I(0) is finite (nearly all)."""
    finite = row.survival > 0
    return float(np.corrcoef(np.log(predicted(row)[finite]), np.log(measured(row)[finite]))[0, 1])


@claim("upper-bound-holds")
def failures_after_enough_examples(trials: pd.DataFrame) -> pd.Series:
    return rows(trials, experiment="bounds").survived_enough


@claim("lower-bound-holds")
def failures_after_too_few_examples(trials: pd.DataFrame) -> pd.Series:
    return rows(trials, experiment="bounds").survived_few


@claim("agnostic-cot-can-hurt")
def harm_of_an_unrealizable_trace(trials: pd.DataFrame) -> pd.Series:
    case = rows(trials, experiment="edge", case="unrealizable")
    return case.error_cot - case.error_e2e
