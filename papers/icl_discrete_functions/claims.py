"""The claims of paper.toml, each as one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.engine import NotRun, claim


def measured(trials: pd.DataFrame, metric: str, task: str, learner: str = "transformer", positions: slice | int | None = None) -> pd.Series:
    """A metric of one learner on one task, or the mean of a curve over ``positions``, indexed by seed."""
    rows = trials[(trials.task == task) & (trials.learner == learner)]
    if rows.empty:
        raise NotRun(f"{learner} on {task} is not in this run")
    values = rows.set_index("seed")[metric].sort_index()
    return values.astype(float) if positions is None else values.map(lambda curve: float(np.mean(curve[positions])))


@claim("conjunctions-near-optimal")
def near_optimal(trials: pd.DataFrame) -> pd.Series:
    """Accuracy of the optimal learner minus that of the Transformer, last ten positions."""
    return measured(trials, "optimal_last", "conjunction", "predictors") - measured(trials, "last", "conjunction")


@claim("beats-nearest-neighbour-on-simple-tasks")
def beats_nearest_neighbour(trials: pd.DataFrame) -> pd.Series:
    """Accuracy of the Transformer minus that of 1-NN on conjunctions, last ten positions."""
    return measured(trials, "last", "conjunction") - measured(trials, "nearest_last", "conjunction", "predictors")


@claim("complex-tasks-degrade")
def complex_tasks_degrade(trials: pd.DataFrame) -> pd.Series:
    """Accuracy of the Transformer at the final position, conjunctions minus DNFs."""
    return measured(trials, "accuracy", "conjunction", positions=-1) - measured(trials, "accuracy", "dnf", positions=-1)


@claim("parity-fails")
def parity_fails(trials: pd.DataFrame) -> pd.Series:
    """Accuracy of the Transformer on full parity, last ten positions."""
    return measured(trials, "last", "parity")


@claim("teaching-sequence-helps")
def teaching_helps(trials: pd.DataFrame) -> pd.Series:
    """Accuracy at positions t+1 .. t+5, taught prompts minus their vanilla twins, one network for both."""
    taught, vanilla = (measured(trials, f"{kind}_after", "teaching_conjunction", positions=slice(5)) for kind in ("taught", "vanilla"))
    return taught - vanilla


def lead_over_lstm(trials: pd.DataFrame, task: str) -> pd.Series:
    """Accuracy of the Transformer minus that of the LSTM: last ten positions, or those that count on the nearest-neighbour task."""
    metric = "counted" if task == "nearest_neighbour" else "last"
    return measured(trials, metric, task) - measured(trials, metric, task, "lstm")


@claim("lstm-matches-on-simple-but-not-nearest-neighbour")
def attention_matters(trials: pd.DataFrame) -> pd.Series:
    """The Transformer's lead over the LSTM on the nearest-neighbour task minus that on conjunctions."""
    return lead_over_lstm(trials, "nearest_neighbour") - lead_over_lstm(trials, "conjunction")
