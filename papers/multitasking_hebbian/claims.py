"""The claims of paper.toml, each as one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papers.multitasking_hebbian.model import LEARNED
from shared.effects import first_crossing
from shared.engine import NotRun, chosen, claim

STRONG, WARM = 0.8, 0.5  # dilution and T / T_c of the parallel regime's claim


def table(rows: pd.DataFrame, name: str) -> np.ndarray:
    """An array metric of some rows, (rows, ...)."""
    return np.stack(rows[name].to_list())


def root_mean_square(rows: pd.DataFrame, deviation: np.ndarray) -> pd.Series:
    """Over all rows of a seed; ``deviation`` is (rows, ...)."""
    return np.sqrt(pd.Series((deviation.reshape(len(rows), -1) ** 2).mean(axis=1), index=rows.index).groupby("seed").mean())


@claim("hierarchical-geometric-law")
def geometric_law(trials: pd.DataFrame) -> pd.Series:
    """Least-squares slope of ln m_mu on mu - 1 over ln d, K = 4, d = 0.5."""
    rows = chosen(trials, experiment="amplitudes", K=4, d=0.5)
    slopes = np.polyfit(np.arange(4), np.log(table(rows, "overlaps")).T, 1)[0]
    return pd.Series(slopes / np.log(0.5), index=rows.index)


def largest_system(trials: pd.DataFrame, d: float) -> pd.DataFrame:
    """The parallel regime's point, or the undiluted network at the same T / T_c, with the most spins."""
    rows = chosen(trials, experiment="thermal", K=3, d=d, T=WARM, start="random")
    return rows[rows["N"] == rows["N"].max()]


@claim("parallel-equal-strength")
def parallel(trials: pd.DataFrame) -> pd.Series:
    """Smallest over largest time-averaged overlap at d = 0.8, T = 0.5 T_c."""
    return largest_system(trials, STRONG).overlaps.map(lambda m: m[-1] / m[0])


@claim("undiluted-retrieves-one")
def undiluted(trials: pd.DataFrame) -> pd.Series:
    """Second largest over largest overlap without blanks."""
    return largest_system(trials, 0.0).overlaps.map(lambda m: m[1] / m[0])


@claim("critical-dilution")
def critical_dilution(trials: pd.DataFrame) -> pd.Series:
    """For K = 3."""
    return chosen(trials, experiment="critical", K=3).critical_dilution.astype(float)


@claim("more-patterns-break-sooner")
def critical_dilution_fall(trials: pd.DataFrame) -> pd.Series:
    """d_c(3) - d_c(4)."""
    return critical_dilution(trials) - chosen(trials, experiment="critical", K=4).critical_dilution


@claim("onset-near-critical-temperature")
def onset(trials: pd.DataFrame) -> pd.Series:
    """Dilution above which all overlaps are equal just below T_c, K = 3."""
    return chosen(trials, experiment="onset", K=3).onset.astype(float)


@claim("monte-carlo-is-mean-field")
def monte_carlo_deviation(trials: pd.DataFrame) -> pd.Series:
    """Root mean square of Monte Carlo minus theory over patterns and points, both followed from the hierarchical configuration."""
    rows = chosen(trials, experiment="thermal", start="hierarchical", K=3)
    return root_mean_square(rows, table(rows, "overlaps") - table(rows, "followed"))


def learning_curve(trials: pd.DataFrame, name: str, **condition) -> pd.DataFrame:
    """m_1 / (1 - d) of a rule, or of the theory, at every M: (seeds, examples)."""
    rows = chosen(trials, experiment="learning", **condition)
    return pd.DataFrame({M: of_M[name].map(lambda m: m[0]) / (1 - condition["d"]) for M, of_M in rows.groupby("M")})


def threshold(curves: pd.DataFrame) -> pd.Series:
    """ln M_c: where m_1 / (1 - d) first reaches erf(1 / sqrt 2), on a line in ln M between measured M."""
    x, found = np.log(curves.columns.to_numpy(float)), {}
    for seed, curve in curves.iterrows():
        place = first_crossing(x, curve.to_numpy(float), LEARNED)
        if place is None or curve.iloc[0] >= LEARNED:
            raise NotRun("the threshold lies outside the measured numbers of examples")
        found[seed] = place
    return pd.Series(found)


@claim("teacher-does-not-matter")
def teacher_effect(trials: pd.DataFrame) -> pd.Series:
    """Supervised minus unsupervised m_1 / (1 - d), averaged over M."""
    condition = {"K": 3, "d": 0.3, "r": 0.5}
    difference = learning_curve(trials, "supervised", **condition) - learning_curve(trials, "unsupervised", **condition)
    wanted = [3, 5, 11, 25, 101]
    if not set(wanted) <= set(difference):
        raise NotRun(f"needs M = {wanted}")
    return difference[wanted].mean(axis=1)


@claim("same-learning-threshold")
def threshold_ratio(trials: pd.DataFrame) -> pd.Series:
    """ln(M_c without a teacher / M_c with one)."""
    condition = {"K": 2, "d": 0.3, "r": 0.2}
    return threshold(learning_curve(trials, "unsupervised", **condition)) - threshold(learning_curve(trials, "supervised", **condition))


@claim("threshold-at-entropy-one")
def threshold_entropy(trials: pd.DataFrame) -> pd.Series:
    """-ln rho at the threshold of the network without a teacher, one pattern."""
    r = 0.2
    return threshold(learning_curve(trials, "unsupervised", K=1, d=0.3, r=r)) - np.log((1 - r**2) / r**2)


@claim("learning-is-mean-field")
def learning_deviation(trials: pd.DataFrame) -> pd.Series:
    """Root mean square of (m_1 - theory) / (1 - d) over both rules and all conditions."""
    rows = chosen(trials, experiment="learning")
    first = {name: rows[name].map(lambda m: m[0]) / (1 - rows["d"]) for name in ("supervised", "unsupervised", "theory")}
    return root_mean_square(rows, np.stack([first[rule] - first["theory"] for rule in ("supervised", "unsupervised")], axis=1))


@claim("energy-descent-lowers-every-loss")
def loss_fall(trials: pd.DataFrame) -> pd.Series:
    """The smallest fall of a pattern's loss, d = 0.8."""
    return chosen(trials, experiment="descent", d=STRONG).losses.map(lambda L: (L[0] - L[-1]).min())
