"""The claims of paper.toml, each as one value per SEM seed or per block of four."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.effects import log_log_slope
from shared.engine import NotRun, chosen, claim

BLOCK = 4
FLOOR = 1e-3  # two thousand test environments resolve 5e-4


def soft(trials: pd.DataFrame, **condition) -> pd.DataFrame:
    """Soft interventions on the sites of the headline."""
    rows = chosen(trials, experiment="pac", kind="soft", **condition)
    return rows if "sites" in condition else rows[rows["sites"] == 2]


def headline(trials: pd.DataFrame) -> pd.DataFrame:
    """Experiment A: m = 8, two sites."""
    return soft(trials, m=8)


def mean_curves(rows: pd.DataFrame, name: str = "nu_max") -> pd.DataFrame:
    """nu_max averaged over training sequences: seeds by n."""
    return pd.DataFrame(np.stack([curves.mean(axis=0, dtype=float) for curves in rows[name]]), index=rows.index, columns=rows.ns.iloc[0])


def blocks(table: pd.DataFrame | pd.Series):
    """Means over blocks of four seeds in order, under the first seed of the block; an incomplete last block is left out."""
    whole = len(table) // BLOCK * BLOCK
    if whole == 0:
        raise NotRun(f"a block needs {BLOCK} seeds")
    table = table.iloc[:whole]
    means = table.groupby(np.arange(whole) // BLOCK).mean()
    return means.set_axis(table.index[::BLOCK], axis=0)


def margin(rows: pd.DataFrame, name: str = "nu_max") -> pd.Series:
    """max over n >= 4, and over all training sequences, of nu_max(n) - (ln |H| + ln(1/delta)) / n."""
    ns = rows.ns.iloc[0]
    if not (ns >= 4).any():
        raise NotRun("no n of 4 or more was run")
    return pd.Series([(curves - bound)[:, ns >= 4].max() for curves, bound in zip(rows[name], rows.bound, strict=True)], index=rows.index)


def block_slopes(curves: pd.DataFrame, floor: float = FLOOR) -> pd.Series:
    """Per block: slope of ln(mean + floor) against ln n, n >= 4."""
    table = blocks(curves.loc[:, curves.columns >= 4])
    if table.shape[1] < 3:
        raise NotRun("a slope needs at least three n of 4 or more")
    return pd.Series(log_log_slope(table.columns.to_numpy(float), table.to_numpy() + floor), index=table.index)


def at_32(rows: pd.DataFrame, name: str = "nu_max") -> pd.Series:
    curves = mean_curves(rows, name)
    if 32 not in curves:
        raise NotRun("n = 32 was not run")
    return curves[32]


def wide_minus_narrow(trials: pd.DataFrame, name: str = "nu_max") -> pd.Series:
    """Per block: nu_max(32) with the most features minus nu_max(32) with five."""
    m = soft(trials).m.max()
    if m <= 5:
        raise NotRun("only five features were run")
    return blocks(at_32(soft(trials, m=m), name)) - blocks(at_32(soft(trials, m=5), name))


@claim("pac-generalisation-of-invariance")
def pac_margin(trials: pd.DataFrame) -> pd.Series:
    return margin(headline(trials))


@claim("pac-generalisation-excess-risk")
def pac_margin_risk(trials: pd.DataFrame) -> pd.Series:
    """The same under definition (b)."""
    return margin(headline(trials), "nu_max_risk")


@claim("one-over-n-rate")
def decay(trials: pd.DataFrame) -> pd.Series:
    return block_slopes(mean_curves(headline(trials)))


@claim("dimension-free")
def dimension_gap(trials: pd.DataFrame) -> pd.Series:
    return wide_minus_narrow(trials)


@claim("dimension-free-excess-risk")
def dimension_gap_risk(trials: pd.DataFrame) -> pd.Series:
    """The same under definition (b)."""
    return wide_minus_narrow(trials, "nu_max_risk")


@claim("dimension-free-fixed-core")
def ambient_gap(trials: pd.DataFrame) -> pd.Series:
    """Per block: nu_max(32) with the most variables behind the core minus nu_max(32) of the core alone."""
    rows = chosen(trials, experiment="ambient")
    core = soft(trials, m=soft(trials).m.min())
    return blocks(at_32(rows[rows.m == rows.m.max()])) - blocks(at_32(core))


@claim("exact-bounds-enclose")
def enclosed(trials: pd.DataFrame) -> pd.Series:
    """Place of the mean of nu_max between the lower (0) and the upper (1) bound on its expectation, both averaged over n >= 4 and over a block."""
    rows = headline(trials)
    curves = mean_curves(rows)
    late = curves.columns >= 4
    measured = blocks(curves.loc[:, late].mean(axis=1))
    lower, upper = (blocks(pd.Series([bound[late].mean() for bound in rows[name]], index=rows.index)) for name in ("expected_lower", "expected_upper"))
    return (measured - lower) / (upper - lower)


@claim("patterns-grow-slower-than-subsets")
def pattern_growth(trials: pd.DataFrame) -> pd.Series:
    """Per block: slope of log2(number of different patterns on the largest n) against the number of features; 1 would be as fast as the number of subsets."""
    rows = soft(trials)
    logs = pd.DataFrame({m: blocks(np.log2(of_m.patterns.map(lambda curve: curve[-1]))) for m, of_m in rows.groupby("m")})
    if logs.shape[1] < 3:
        raise NotRun("a slope needs at least three dimensions")
    m = logs.columns.to_numpy(float)
    centred = m - m.mean()
    return logs @ pd.Series(centred / (centred @ centred), index=logs.columns)


@claim("invariant-beats-erm-ood")
def robustness(trials: pd.DataFrame) -> pd.Series:
    """95 % quantile of risk over strong interventions, in units of Var(Y): ERM minus the invariant subset."""
    rows = chosen(trials, experiment="ood")
    return rows.strong_erm_q95 - rows.strong_invariant_q95


def with_samples(trials: pd.DataFrame, N: int) -> pd.DataFrame:
    return chosen(trials, experiment="finite", N=N)


@claim("finite-sample")
def certified_from_samples(trials: pd.DataFrame) -> pd.Series:
    return with_samples(trials, 1600).nu_max.astype(float)


@claim("finite-sample-same-level")
def certified_at_the_same_level(trials: pd.DataFrame) -> pd.Series:
    """Violation at the certified level itself."""
    return with_samples(trials, 1600).nu_max_same_level.astype(float)


@claim("sampling-error-rate")
def sampling_error_slope(trials: pd.DataFrame) -> pd.Series:
    """Slope of the root mean square error of w, over subsets and environments, against N."""
    table = chosen(trials, experiment="finite").reset_index().pivot(index="seed", columns="N", values="rms_error").astype(float)
    if table.shape[1] < 3:
        raise NotRun("a slope needs at least three sample sizes")
    return pd.Series(log_log_slope(table.columns.to_numpy(float), table.to_numpy()), index=table.index)


@claim("sampling-error-exact")
def sampling_error_ratio(trials: pd.DataFrame) -> pd.Series:
    """Measured over exactly expected squared error, mean over subsets, environments and sample sizes."""
    return chosen(trials, experiment="finite").error_ratio.astype(float).groupby("seed").mean()


@claim("no-faithfulness-needed")
def unfaithful_margin(trials: pd.DataFrame) -> pd.Series:
    return margin(chosen(trials, experiment="unfaithful", cancel=True))


@claim("unfaithful-like-faithful")
def unfaithful_difference(trials: pd.DataFrame) -> pd.Series:
    """nu_max(32) with cancelling paths minus nu_max(32) with the same paths that do not cancel."""
    return at_32(chosen(trials, experiment="unfaithful", cancel=True)) - at_32(chosen(trials, experiment="unfaithful", cancel=False))


@claim("latent-observation")
def latent_margin(trials: pd.DataFrame) -> pd.Series:
    return margin(chosen(trials, experiment="latent"))


@claim("uniform-over-linear-representations")
def linear_slope(trials: pd.DataFrame) -> pd.Series:
    """Per block: slope of the worst violation over random and searched representations, all ranks, against n."""
    rows = chosen(trials, experiment="linear")
    worst = [np.max([row.nu_random, row.nu_invariant, row.nu_deceptive], axis=0) for row in rows.itertuples()]
    return block_slopes(pd.DataFrame(worst, index=rows.index, columns=rows.ns.iloc[0]).groupby("seed").max())
