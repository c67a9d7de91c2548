"""The claims of paper.toml, each as one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from papers.general_purpose_icl.data import REPEATED
from papers.general_purpose_icl.model import UNLIMITED
from shared.effects import log_log_slope, matched_difference
from shared.engine import NotRun, claim

MODELS = ("transformer", "lstm")


def task_sweep(trials: pd.DataFrame) -> pd.DataFrame:
    """E1 at its largest width: Transformers on K tasks, all with the bias of the run that has fewest tasks, indexed by seed."""
    rows = trials[trials.learner == "transformer"]
    fewest = rows[rows["K"] == rows["K"].min()]
    width = fewest.width.max()
    return rows[(rows.width == width) & (rows.q == fewest.q.iloc[0]) & (rows.batch == fewest.batch.iloc[0])].set_index("seed")


def most_tasks(trials: pd.DataFrame) -> pd.DataFrame:
    rows = task_sweep(trials)
    return rows[rows["K"] == rows["K"].max()].sort_index()


def fewest_tasks(trials: pd.DataFrame) -> pd.DataFrame:
    rows = task_sweep(trials)
    return rows[rows["K"] == rows["K"].min()].sort_index()


def elsewhere(trials: pd.DataFrame) -> list[str]:
    """Columns of the data sets never seen in meta-training, without the control."""
    return [name for name in trials.columns if name.startswith("on ") and name != f"on {REPEATED}"]


@claim("learns-to-learn-with-many-tasks")
def improvement_on_unseen_tasks(trials: pd.DataFrame) -> pd.Series:
    rows = most_tasks(trials)
    return rows.unseen_last - rows.unseen_first


@claim("few-tasks-memorise")
def gap_of_few_tasks(trials: pd.DataFrame) -> pd.Series:
    few, many = fewest_tasks(trials), most_tasks(trials)
    return (few.seen_last - few.unseen_last) - (many.seen_last - many.unseen_last)


@claim("generalises-to-other-datasets")
def above_chance_elsewhere(trials: pd.DataFrame) -> pd.Series:
    rows = most_tasks(trials)
    return sum(rows[name] - rows[name.replace("on ", "chance on ", 1)] for name in elsewhere(trials)) / len(elsewhere(trials))


@claim("state-size-matters-more-than-parameters")
def state_against_parameters(trials: pd.DataFrame) -> pd.Series:
    """Spearman's rank correlation of unseen-task accuracy with state size minus that with parameters."""
    models = state_models(trials)
    if models.groupby("seed").size().min() < 6:
        raise NotRun("fewer than 6 models")
    return models.groupby("seed").apply(lambda rows: spearmanr(rows.unseen_last, rows.state)[0] - spearmanr(rows.unseen_last, rows.parameters)[0])


def state_models(trials: pd.DataFrame) -> pd.DataFrame:
    """E3: Transformers and LSTMs trained alike, on as many tasks, with the bias and batch of the LSTMs."""
    lstms = trials[trials.learner == "lstm"]
    if lstms.empty:
        raise NotRun("no LSTM is trained at this scale")
    alike = (trials["K"] == lstms["K"].iloc[0]) & (trials.q == lstms.q.iloc[0]) & (trials.batch == lstms.batch.iloc[0])
    return trials[trials.learner.isin(MODELS) & alike]


@claim("biased-permutations-remove-plateau")
def plateau_ratio(trials: pd.DataFrame) -> pd.Series:
    """log(plateau at q = 0 / plateau at the largest q), K without limit, same width and batch."""
    biased = most_tasks(trials)
    where = {"learner": "transformer", "K": UNLIMITED, "width": biased.width.iloc[0], "batch": biased.batch.iloc[0]}
    log = trials.assign(log_plateau=np.log(trials.plateau.clip(lower=1)))
    qs = trials[(trials.learner == "transformer") & (trials.K == UNLIMITED)].q
    if qs.nunique() < 2:
        raise NotRun("one bias alone was run")
    return matched_difference(log, "log_plateau", where | {"q": qs.min()}, where | {"q": qs.max()})


@claim("larger-batches-shorten-plateau")
def plateau_slope(trials: pd.DataFrame) -> pd.Series:
    rows = trials[(trials.learner == "transformer") & (trials.K == UNLIMITED) & (trials.q == 0)]
    table = rows[rows.width == rows.width.max()].pivot(index="seed", columns="batch", values="plateau")
    if table.shape[1] < 3:
        raise NotRun("fewer than three batch sizes at this scale")
    slopes = pd.Series(log_log_slope(table.columns.to_numpy(float), table.to_numpy(float)), index=table.index)
    return slopes.where(table.nunique(axis=1) > 1, 0.0)  # no rounding error where every plateau is as long as the run


@claim("beats-online-sgd-elsewhere")
def lead_over_online_sgd(trials: pd.DataFrame) -> pd.Series:
    """Mean over the data sets never seen of accuracy minus that of online SGD on the same sequences."""
    ours, sgd = most_tasks(trials), trials[trials.learner == "online SGD"].set_index("seed").sort_index()
    return sum(ours[name] - sgd[name] for name in elsewhere(trials)) / len(elsewhere(trials))
