"""How every figure of the repository looks: one style, one palette by role, intervals over seeds, the paper's value as a mark of its own.

with style():
    fig, ax = plt.subplots(figsize=ONE_COLUMN)
    band(ax, steps, accuracy, "ours", role="method")     # accuracy: (seeds, steps)
    reported(ax, 0.726)
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

ONE_COLUMN = (3.5, 2.6)
TWO_COLUMNS = (7.0, 2.8)

# Okabe-Ito, safe for colour-blind readers; a role keeps its colour, marker and dash through a paper, so that it survives grey print.
ROLES = {
    "method": ("#0072B2", "o", "-"),
    "baseline": ("#D55E00", "s", "--"),
    "baseline2": ("#009E73", "^", "-."),
    "baseline3": ("#CC79A7", "D", ":"),
    "variant": ("#56B4E9", "v", (0, (5, 1))),
    "variant2": ("#E69F00", "P", (0, (3, 1, 1, 1))),
    "theory": ("#000000", None, "-"),
    "control": ("#7F7F7F", "x", (0, (1, 1))),
}

STYLE = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=[colour for colour, _, _ in ROLES.values()]),
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "svg.hashsalt": "replication",
    "svg.fonttype": "path",
}


@contextlib.contextmanager
def style():
    """The house style; figures are made inside this context."""
    with plt.style.context(["default", STYLE]):
        yield


def colour(role: str) -> str:
    """The colour of a role (see ``ROLES``)."""
    return ROLES[role][0]


def interval(values, level: float = 0.95, axis: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and Student-t confidence limits over seeds.

    Parameters
    ----------
    values : array with seeds along ``axis``. One seed has no interval: the limits equal the mean.
    """
    values = np.asarray(values, dtype=float)
    n = values.shape[axis]
    mean = values.mean(axis=axis)
    if n < 2:
        return mean, mean, mean
    half = stats.t.ppf(0.5 + level / 2, n - 1) * values.std(axis=axis, ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def label_with_n(label: str, n: int) -> str:
    """``label`` with what its band means."""
    return f"{label} (95% CI, n = {n})" if n > 1 else label


def band(ax, x, values, label: str, role: str = "method", *, marker: bool = False, show_n: bool = True) -> None:
    """A line of means over ``x`` with a translucent 95 % band; ``values`` is (seeds, len(x))."""
    values = np.atleast_2d(np.asarray(values, dtype=float))
    mean, low, high = interval(values)
    hue, shape, dash = ROLES[role]
    ax.plot(x, mean, color=hue, linestyle=dash, marker=shape if marker else None, label=label_with_n(label, len(values)) if show_n else label)
    if len(values) > 1:
        ax.fill_between(x, low, high, color=hue, alpha=0.2, linewidth=0)


def log_band(ax, x, values, label: str | None, role: str = "method") -> None:
    """A line of geometric means with markers, and the 95 % interval of the logarithm, for log axes; ``values`` positive, (seeds, len(x))."""
    mean, low, high = (10**limit for limit in interval(np.log10(values)))
    hue, shape, dash = ROLES[role]
    ax.plot(x, mean, color=hue, marker=shape, linestyle=dash, label=label)
    ax.fill_between(x, low, high, color=hue, alpha=0.2, linewidth=0)


def whiskers(ax, position: float, values, label: str | None = None, role: str = "method", *, horizontal: bool = False) -> None:
    """A mean with its 95 % whisker at ``position``, and the single seeds as dots when there are ten or fewer."""
    values = np.asarray(values, dtype=float).ravel()
    mean, low, high = interval(values)
    hue, shape, _ = ROLES[role]
    error = [[mean - low], [high - mean]]
    at = (mean, position) if horizontal else (position, mean)
    ax.errorbar(*at, **{"xerr" if horizontal else "yerr": error}, color=hue, marker=shape or "o", capsize=2.5, linestyle="none", label=label)
    if 1 < len(values) <= 10:
        offsets = position + np.linspace(-0.12, 0.12, len(values))
        ax.scatter(*((values, offsets) if horizontal else (offsets, values)), s=5, color=hue, alpha=0.5, linewidth=0, zorder=1)


def reported(ax, value: float, label: str | None = "paper", *, horizontal: bool = True) -> None:
    """The paper's value, as a short-dashed grey line across the axes (horizontal) or down them."""
    (ax.axhline if horizontal else ax.axvline)(value, color="#7F7F7F", linestyle=(0, (2, 2)), linewidth=1, label=label, zorder=0)


def reported_points(ax, x: Sequence[float], y: Sequence[float], label: str | None = "paper") -> None:
    """The paper's values at single places, as hollow diamonds."""
    ax.scatter(x, y, marker="D", s=22, facecolors="none", edgecolors="#555555", linewidths=1, label=label, zorder=3)


def criterion(ax, low: float | None, high: float | None, label: str | None = "criterion", *, horizontal: bool = True) -> None:
    """A claim's criterion: thin lines at its limits, the accepted side shaded. ``None`` leaves that side open."""
    line, span = (ax.axhline, ax.axhspan) if horizontal else (ax.axvline, ax.axvspan)
    bounds = ax.get_ylim() if horizontal else ax.get_xlim()
    for limit in (low, high):
        if limit is not None:
            line(limit, color="#444444", linewidth=0.7, zorder=0)
    span(bounds[0] if low is None else low, bounds[1] if high is None else high, color="#009E73", alpha=0.07, linewidth=0, label=label, zorder=0)
    (ax.set_ylim if horizontal else ax.set_xlim)(bounds)


def training_range(ax, low: float, high: float, label: str | None = "training range") -> None:
    """Shade the part of the x axis that the model was trained on."""
    ax.axvspan(low, high, color="#7F7F7F", alpha=0.12, linewidth=0, label=label, zorder=0)
