"""The claims of paper.toml, each as one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from shared.effects import first_crossing, log_log_slope
from shared.engine import NotRun, chosen, claim

EPS = 0.25


def ratios(rows: pd.DataFrame, name: str) -> np.ndarray:
    """A loss over its value at step 0, (seeds, steps)."""
    curves = test_loss(rows) if name == "test_loss" else np.stack(rows[name].to_list())
    return curves / curves[:, :1]


def test_loss(rows: pd.DataFrame) -> np.ndarray:
    """The exact test loss, the sum of its three terms; (seeds, steps)."""
    return np.stack(rows.test_terms.to_list()).sum(axis=2)


def log10_step(steps: np.ndarray, values: np.ndarray, level: float, above: bool = False) -> float:
    """log10 of the step at which a curve first goes below (or above) a level, on a line between measured steps; the last step if it never does."""
    x = np.log10(steps[1:])
    found = first_crossing(x, values[1:], level, falling=not above)
    return float(x[-1]) if found is None else found


def delay(rows: pd.DataFrame) -> pd.Series:
    """log10(first step with test / test_0 < 0.3) - log10(first step with train / train_0 < 0.1), each censored at the end."""
    train, test = ratios(rows, "train_loss"), ratios(rows, "test_loss")
    gaps = [log10_step(steps, test[i], 0.3) - log10_step(steps, train[i], 0.1) for i, steps in enumerate(rows.steps)]
    return pd.Series(gaps, index=rows.index)


def slopes(x: np.ndarray, table: pd.DataFrame) -> pd.Series:
    """Least-squares slope over x of each row of a table (seeds, x)."""
    if len(x) < 3:
        raise NotRun("a slope needs at least three settings")
    centred = np.asarray(x, float) - np.mean(x)
    return table @ (centred / (centred @ centred))


def alpha_table(trials: pd.DataFrame) -> pd.DataFrame:
    """The delay for every alpha, (seeds, alphas)."""
    rows = chosen(trials, experiment="dynamics", eps=EPS, centred=True)
    return pd.DataFrame({alpha: delay(of_alpha) for alpha, of_alpha in rows.groupby("alpha")})


def headline(trials: pd.DataFrame, alpha: float = 1.0) -> pd.DataFrame:
    return chosen(trials, experiment="dynamics", alpha=alpha, eps=EPS, centred=True)


def eps_slopes(trials: pd.DataFrame, centred: bool) -> pd.Series:
    """Slope of ln(final test loss) against log2 eps at alpha = 1."""
    rows = chosen(trials, experiment="dynamics", alpha=1.0, centred=centred)
    finals = pd.DataFrame({eps: pd.Series(np.log(test_loss(of_eps)[:, -1]), index=of_eps.index) for eps, of_eps in rows.groupby("eps")})
    return slopes(np.log2(finals.columns.to_numpy(float)), finals.set_axis(range(finals.shape[1]), axis=1))


@claim("grokking-without-regularisation")
def grokking_delay(trials: pd.DataFrame) -> pd.Series:
    """The delay at alpha = 2."""
    return delay(headline(trials, alpha=2.0))


@claim("norm-increases")
def norm_growth(trials: pd.DataFrame) -> pd.Series:
    """tr M at the end over tr M at the start, minus one."""
    return headline(trials).trace.map(lambda trace: trace[-1] / trace[0] - 1)


@claim("alpha-controls-delay")
def delay_slope(trials: pd.DataFrame) -> pd.Series:
    """Slope of the delay against log2 alpha."""
    table = alpha_table(trials)
    return slopes(np.log2(table.columns.to_numpy(float)), table.set_axis(range(table.shape[1]), axis=1))


@claim("beats-initial-kernel")
def final_over_kernel(trials: pd.DataFrame) -> pd.Series:
    """Final test loss over that of kernel regression with the initial kernel."""
    rows = headline(trials)
    return test_loss(rows)[:, -1] / rows.kernel_test_loss


@claim("alignment-rises")
def alignment_gain(trials: pd.DataFrame) -> pd.Series:
    """CKA at the end over CKA when the train loss is first below a tenth."""
    rows = headline(trials)
    train = ratios(rows, "train_loss")
    if not (train < 0.1).any(axis=1).all():
        raise NotRun("the train loss of a seed does not fall to a tenth within the budget")
    fitted = (train < 0.1).argmax(axis=1)
    return pd.Series([cka[-1] / cka[at] for cka, at in zip(rows.alignment, fitted, strict=True)], index=rows.index)


@claim("small-eps-better-finally")
def final_loss_slope(trials: pd.DataFrame) -> pd.Series:
    """Of the centred predictor."""
    return eps_slopes(trials, centred=True)


@claim("small-eps-better-finally-uncentred")
def final_loss_slope_uncentred(trials: pd.DataFrame) -> pd.Series:
    """Of the net itself, that has its initial function to unlearn."""
    return eps_slopes(trials, centred=False)


@claim("small-eps-slower")
def eps_delay_slope(trials: pd.DataFrame) -> pd.Series:
    """Slope of log10(first step with test / test_0 < 0.3) against log2 eps, centred."""
    rows = chosen(trials, experiment="dynamics", alpha=1.0, centred=True)
    times = {}
    for eps, of_eps in rows.groupby("eps"):
        curves = ratios(of_eps, "test_loss")
        times[eps] = pd.Series([log10_step(steps, curve, 0.3) for steps, curve in zip(of_eps.steps, curves, strict=True)], index=of_eps.index)
    table = pd.DataFrame(times)
    return slopes(np.log2(table.columns.to_numpy(float)), table.set_axis(range(table.shape[1]), axis=1))


@claim("dynamics-close")
def closure_deviation(trials: pd.DataFrame) -> pd.Series:
    """Largest relative deviation of a finite net's losses from the closed dynamics, over widths and steps."""
    return chosen(trials, experiment="finite").deviation.groupby("seed").max()


@claim("loss-curves-concentrate")
def spread_slope(trials: pd.DataFrame) -> pd.Series:
    """Slope of log spread of the test-loss curves against log D."""
    rows = chosen(trials, experiment="concentration")
    table = rows.reset_index().pivot(index="seed", columns="D", values="test_loss_spread")
    if table.shape[1] < 3:
        raise NotRun("a slope needs at least three dimensions")
    return pd.Series(log_log_slope(table.columns.to_numpy(float), table.to_numpy(float)), index=table.index)


def data_rows(trials: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """The data sweep at one P / D."""
    rows = chosen(trials, experiment="data")
    rows = rows[np.isclose(rows["P"] / rows["D"], ratio)]
    if rows.empty:
        raise NotRun(f"P / D = {ratio:g} was not run")
    return rows


@claim("ample-data-no-delay")
def delay_lost(trials: pd.DataFrame) -> pd.Series:
    """Delay at P / D = 5.5 minus delay at P / D = 40."""
    return delay(data_rows(trials, 5.5)) - delay(data_rows(trials, 40.0))


@claim("scarce-data-no-generalisation")
def never_generalises(trials: pd.DataFrame) -> pd.Series:
    """Final test loss over that at step 0, with one example a dimension."""
    rows = data_rows(trials, 1.0)
    return pd.Series(ratios(rows, "test_loss")[:, -1], index=rows.index)


def image_delay(rows: pd.DataFrame) -> pd.Series:
    """log10(first step with test accuracy above 0.9) - log10(first step with train accuracy above 0.9), each censored at the end."""
    columns = zip(rows.steps, rows.train_accuracy, rows.test_accuracy, strict=True)
    gaps = [log10_step(steps, test, 0.9, above=True) - log10_step(steps, train, 0.9, above=True) for steps, train, test in columns]
    return pd.Series(gaps, index=rows.index)


def scale_effect(trials: pd.DataFrame, decay: float) -> pd.Series:
    """Delay at the largest output scale minus delay at the smallest."""
    rows = chosen(trials, experiment="images", decay=decay)
    return image_delay(rows[rows.scale == rows.scale.max()]) - image_delay(rows[rows.scale == rows.scale.min()])


@claim("image-scale-controls-delay")
def image_effect(trials: pd.DataFrame) -> pd.Series:
    """With weight decay."""
    return scale_effect(trials, chosen(trials, experiment="images").decay.max())


@claim("image-delay-without-decay")
def image_effect_without_decay(trials: pd.DataFrame) -> pd.Series:
    return scale_effect(trials, 0.0)
