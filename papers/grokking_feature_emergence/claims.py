"""The claims of paper.toml, each as one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.engine import NotRun, claim


def curve(trials: pd.DataFrame, decay: float) -> pd.DataFrame:
    """Experiment A on true labels with one weight decay, indexed by seed."""
    rows = trials[(trials.experiment == "curve") & (trials.labels == "true") & np.isclose(trials.decay, decay)]
    if rows.empty:
        raise NotRun(f"weight decay {decay:g} was not run")
    return rows.set_index("seed")


def thresholds(trials: pd.DataFrame) -> pd.DataFrame:
    """p*(M): where the test accuracy first crosses one half, on a line between neighbouring train fractions; cyclic groups, (seeds, groups)."""
    rows = trials[(trials.experiment == "phase") & trials.group.str.startswith("Z") & ~trials.group.str.contains("x", na=False)]
    table = {}
    for (group, seed), ladder in rows.sort_values("train_fraction").groupby(["group", "seed"]):
        p, accuracy = ladder.train_fraction.to_numpy(), ladder.final_test_accuracy.to_numpy()
        if accuracy[0] >= 0.5 or accuracy.max() < 0.5:
            raise NotRun(f"{group}, seed {seed}: the test accuracy does not cross one half between p = {p[0]:.2f} and {p[-1]:.2f}")
        i = int((accuracy >= 0.5).argmax())
        table.setdefault(group, {})[seed] = p[i - 1] + (0.5 - accuracy[i - 1]) / (accuracy[i] - accuracy[i - 1]) * (p[i] - p[i - 1])
    return pd.DataFrame(table).rename_axis(index="seed")


def order(group: str) -> int:
    """M of a cyclic group's name."""
    return int(group.removeprefix("Z"))


@claim("grokking-delay")
def grokking_delay(trials: pd.DataFrame) -> pd.Series:
    """Steps until the test accuracy stays at 0.95, over steps until the train accuracy stays at 0.99."""
    rows = curve(trials, 2e-4)
    if (rows[["step_train", "step_test"]] < 0).any(axis=None):
        raise NotRun("a seed does not generalise within the budget")
    return rows.step_test / rows.step_train


@claim("weight-decay-needed")
def weight_decay_needed(trials: pd.DataFrame) -> pd.Series:
    """Final test accuracy with weight decay minus that without."""
    return curve(trials, 2e-4).final_test_accuracy - curve(trials, 0.0).final_test_accuracy


@claim("sample-scaling-mlogm")
def scaling_slope(trials: pd.DataFrame) -> pd.Series:
    """Slope of ln p* against ln(ln M / M) over the cyclic groups."""
    p = thresholds(trials)
    if p.shape[1] < 3:
        raise NotRun("a slope needs at least three moduli")
    M = np.array([order(group) for group in p])
    x = np.log(np.log(M) / M)
    return (np.log(p) * (x - x.mean())).sum(axis=1) / np.square(x - x.mean()).sum()


@claim("critical-constant")
def critical_constant(trials: pd.DataFrame) -> pd.Series:
    """kappa* = p* M / ln M, averaged over the cyclic groups."""
    p = thresholds(trials)
    M = np.array([order(group) for group in p])
    return (p * M / np.log(M)).mean(axis=1)


@claim("trained-nodes-are-single-irreps")
def single_irreps(trials: pd.DataFrame) -> pd.Series:
    """Power-weighted share of a node's largest frequency."""
    return curve(trials, 5e-4).peak_fraction


def optimiser_gap(trials: pd.DataFrame, baseline: str) -> pd.Series:
    """Test accuracy of Muon minus that of a baseline, averaged over the small widths (up to 32 for M = 31, up to 96 for M = 71)."""
    rows = trials[trials.experiment == "muon"]
    small = rows[rows.width <= rows.group.map(lambda group: 96 if order(group) >= 71 else 32)]
    accuracy = small.pivot_table(index="seed", columns="optimiser", values="final_test_accuracy")
    return accuracy["muon"] - accuracy[baseline]


@claim("muon-helps-few-nodes")
def muon_gap(trials: pd.DataFrame) -> pd.Series:
    """Muon against Adam with the same learning rate and decay."""
    return optimiser_gap(trials, "adam")


@claim("signal-turns-to-the-labels")
def signal_gain(trials: pd.DataFrame) -> pd.Series:
    """cos(G_F, Y~ Y~^T F) at the ridge-optimal top layer (eta in the middle of the ladder) minus its size at the random one."""
    rows = trials[trials.experiment == "lazy"]
    at_ridge = rows.cosines_ridge.map(lambda cosines: cosines[len(cosines) // 2])
    return (at_ridge - rows.cosine_random.abs()).groupby(rows.seed).mean()


@claim("maxima-are-single-irreps")
def single_maxima(trials: pd.DataFrame) -> pd.Series:
    """Share of ascents on all pairs that end on one frequency."""
    rows = trials[(trials.experiment == "landscape") & (trials.pairs == "all")]
    return rows.groupby("seed").single_mode.mean()


@claim("few-pairs-memorise")
def memorising_maxima(trials: pd.DataFrame) -> pd.Series:
    """Share of one-frequency maxima with most of the pairs minus that with fewest."""
    rows = trials[(trials.experiment == "landscape") & (trials.pairs == "subset")]
    share = rows.groupby(["seed", "kappa"]).single_mode.mean().unstack()
    return share.iloc[:, -1] - share.iloc[:, 0]


@claim("random-labels-control")
def random_labels(trials: pd.DataFrame) -> pd.Series:
    """Test accuracy on permuted labels, in units of chance."""
    rows = trials[(trials.experiment == "curve") & (trials.labels == "permuted")].set_index("seed")
    return rows.final_test_accuracy * rows.group.map(order)
