"""From recorded trials to the claims of paper.toml, one value per seed."""

from __future__ import annotations

import pandas as pd

from shared.engine import NotRun, claim


def metric(trials: pd.DataFrame, name: str, **condition) -> pd.Series:
    """One metric of the one condition that has these values, indexed by seed."""
    for column, value in condition.items():
        trials = trials[trials[column] == value]
    if trials.empty or name not in trials or trials[name].isna().any():
        raise NotRun(f"{name} of {condition} is not measured in this profile")
    return trials.set_index("seed")[name].astype(float)


def fixed_hull_accuracy(trials: pd.DataFrame, model: str) -> pd.Series:
    fixed = trials[(trials.task == "hull") & (trials.n_low == trials.n_high)]
    return metric(fixed, f"accuracy_n{fixed.n_high.max()}", model=model)


@claim("ptr-beats-attention-hull")
def pointer_gain(trials: pd.DataFrame) -> pd.Series:
    return fixed_hull_accuracy(trials, "ptr") - fixed_hull_accuracy(trials, "attention")


@claim("attention-beats-plain-lstm")
def attention_gain(trials: pd.DataFrame) -> pd.Series:
    return fixed_hull_accuracy(trials, "attention") - fixed_hull_accuracy(trials, "lstm")


def coverage(trials: pd.DataFrame, times: int) -> pd.Series:
    """Mean area coverage of the variable-length pointer network at ``times`` its largest training size."""
    ranged = trials[(trials.task == "hull") & (trials.n_low < trials.n_high)]
    return metric(ranged, f"coverage_n{times * ranged.n_high.max()}", model="ptr")


@claim("hull-area-coverage")
def coverage_in_training_range(trials: pd.DataFrame) -> pd.Series:
    return coverage(trials, 1)


@claim("length-generalisation-hull")
def coverage_at_twice_the_length(trials: pd.DataFrame) -> pd.Series:
    return coverage(trials, 2)


def tour_size(trials: pd.DataFrame) -> int:
    """10 cities where the network trained on that many, else 5."""
    return 10 if trials[trials.task == "tsp"].n_high.max() >= 10 else 5


@claim("tsp-near-optimal-small")
def tour_over_optimum(trials: pd.DataFrame) -> pd.Series:
    return metric(trials, f"ratio_n{tour_size(trials)}", task="tsp")


@claim("tsp-beats-greedy-edge")
def tour_over_greedy_edge(trials: pd.DataFrame) -> pd.Series:
    n = tour_size(trials)
    return metric(trials, f"length_n{n}", task="tsp") / metric(trials, f"greedy_edge_n{n}", task="tsp")


@claim("delaunay-degrades")
def triangulation_gap(trials: pd.DataFrame) -> pd.Series:
    return metric(trials, "accuracy_n5", task="delaunay", n_high=5) - metric(trials, "accuracy_n10", task="delaunay", n_high=10)
