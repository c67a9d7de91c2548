"""The claims of paper.toml, each as one value per seed; the first setting (V, C, MLP factor) is the one that is judged."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.effects import log_log_slope
from shared.engine import NotRun, claim


def one_setting(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of the smallest V, the shortest C and the MLP factor nearest to 4, indexed by seed."""
    rows = trials[(trials["V"] == trials["V"].min()) & (trials["C"] == trials["C"].min())]
    rows = rows[rows["mlp"] == min(rows["mlp"].unique(), key=lambda factor: abs(factor - 4))]
    return rows.set_index("seed")


def switch_times(row) -> tuple[np.ndarray, np.ndarray]:
    """D and t*(D), the first checkpoint with w_obs of one half or more, for the D that are below one half somewhere before it."""
    above = row.w_id >= 0.5  # (checkpoints, D)
    first = above.argmax(axis=0)  # also 0 where there is none
    return row.diversities[first > 0], row.steps[first[first > 0]]


@claim("predicts-relative-distance")
def correlation(trials: pd.DataFrame) -> pd.Series:
    """Pearson correlation of predicted w_M and w_obs over kept checkpoints and diversities."""
    return one_setting(trials).correlation_id


@claim("predicts-next-token-outputs")
def total_variation(trials: pd.DataFrame) -> pd.Series:
    """Mean total variation between mixture and Transformer."""
    return one_setting(trials).tv_id


@claim("superlinear-switch-time")
def switch_slope(trials: pd.DataFrame) -> pd.Series:
    """Slope of log t*(D) against log D."""
    slopes = {}
    for seed, row in one_setting(trials).iterrows():
        D, t = switch_times(row)
        if len(D) < 3:
            raise NotRun(f"seed {seed}: {len(D)} diversities switch within training, a slope needs three")
        slopes[seed] = log_log_slope(D, t)
    return pd.Series(slopes)


@claim("sublinear-evidence")
def alpha(trials: pd.DataFrame) -> pd.Series:
    """The fitted exponent: evidence grows as N^(1 - alpha)."""
    return one_setting(trials).alpha


@claim("complexity-and-sublinearity-matter")
def ablation_gap(trials: pd.DataFrame) -> pd.Series:
    """Divergence of the better of the two ablations minus that of the model."""
    rows = one_setting(trials)
    return rows[["divergence_linear_evidence", "divergence_linear_complexity"]].min(axis=1) - rows.divergence_full


@claim("transience")
def transience(trials: pd.DataFrame) -> pd.Series:
    """OOD KL at the last checkpoint minus its minimum over the earlier ones."""
    rows = one_setting(trials)
    return pd.Series({seed: row.ood_kl_transient[-1] - row.ood_kl_transient[:-1].min() for seed, row in rows.iterrows()})


@claim("diversity-threshold")
def diversity_threshold(trials: pd.DataFrame) -> pd.Series:
    """w_obs at the end of training, smallest D minus largest D."""
    return one_setting(trials).w_id.map(lambda w: w[-1, 0] - w[-1, -1])
