"""Figures from the record alone: errors against n / d^2 and log_d n, the feature found by stage 1, the Stein lemma, the learned link, descent."""

from __future__ import annotations

import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from papers.hierarchical_polynomials import targets, theory
from papers.hierarchical_polynomials.claims import RECOVERED, largest_dimension, samples_needed
from papers.hierarchical_polynomials.replicate import NETWORK, TRAINED
from shared.effects import log_log_fit
from shared.engine import NotRun, Record, draw_figures
from shared.figures import ONE_COLUMN, TWO_COLUMNS, band, colour, log_band, style

ROLE = {
    NETWORK: "method",
    "exponential kernel": "baseline",
    "tangent kernel": "baseline2",
    "random features": "baseline3",
    "oracle": "control",
    TRAINED: "variant2",
}
MARKERS = "osv^DP*X"


def draw(record: Record) -> dict[str, Figure]:
    """All figures by file name."""
    with style():
        return {
            "error": error(record),
            "error_exponent": error_exponent(record),
            "feature": feature(record),
            "stein": stein(record),
            "link": learned_link(record),
            "descent": descent(record),
        }


def measured(record: Record, method: str) -> pd.DataFrame:
    """Rows of the generic target, those of the exponent's draws included."""
    return pd.concat([record.select(experiment=experiment, method=method) for experiment in ("sweep", "recovery")])


def curves(record: Record, method: str, metric: str, d: int) -> tuple[np.ndarray, np.ndarray]:
    """n (points,), and the metric (seeds, points), mean over draws."""
    rows = measured(record, method)
    table = rows[rows["d"] == d].pivot_table(index="seed", columns="n", values=metric).astype(float)
    return table.columns.to_numpy(float), table.to_numpy()


def dimensions(record: Record, method: str = NETWORK) -> list[int]:
    return [int(d) for d in sorted(measured(record, method)["d"].unique())]


def shades(dims: list[int]) -> dict[int, tuple]:
    """One colour and marker for each dimension, from light to dark."""
    hues = plt.get_cmap("viridis_r")(np.linspace(0.15, 0.95, len(dims)))
    return {d: (hue, MARKERS[i % len(MARKERS)]) for i, (d, hue) in enumerate(zip(dims, hues, strict=True))}


def theoretical(curve: Callable[[float, int], float], n: np.ndarray, d: int) -> tuple[np.ndarray, list[float]]:
    """(n, curve(n, d)) on a fine grid over the range of n."""
    grid = np.geomspace(n.min(), n.max(), 60)
    return grid, [curve(m, d) for m in grid]


def ratio_axis(ax, ratios: list[float]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(ratios, [f"{r:g}" for r in ratios])
    ax.set_xlabel("samples $n / d^2$ (log 2)")


def error(record: Record) -> Figure:
    """Test error against n / d^2: all methods at the largest dimension compared, and the network at every dimension."""
    fig, (left, right) = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    d, ratios = largest_dimension(record.trials), sorted(record.select(experiment="sweep")["ratio"].unique())
    for method, role in ROLE.items():
        if not record.select(experiment="sweep", method=method).empty:
            n, values = curves(record, method, "error", d)
            band(left, n / d**2, values, method, role, marker=True, show_n=False)
    n, _ = curves(record, NETWORK, "error", d)
    for curve, label in ((theory.three_layer_theory, "limit, network"), (theory.quadratic_theory, "limit, degree 2")):
        grid, values = theoretical(curve, n, d)
        left.plot(grid / d**2, values, color="black", linewidth=0.8, linestyle="-" if "network" in label else ":", label=label)
    level = record.select(experiment="sweep", d=d)["plateau"].iloc[0]
    left.axhline(level, color="#7F7F7F", linestyle="--", linewidth=0.9, label="best of degree 2")
    left.set(title=f"all methods, d = {d}", ylabel="test error / Var h", ylim=(0, 1.1))
    for dim, (hue, marker) in shades(dimensions(record)).items():
        n, values = curves(record, NETWORK, "error", dim)
        right.plot(n / dim**2, values.mean(axis=0), color=hue, marker=marker, label=f"d = {dim}")
    right.set(title=f"{NETWORK}, every d")
    for ax in (left, right):
        ratio_axis(ax, ratios)
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, title=f"bands: 95% CI, n = {len(record.seeds)}", title_fontsize=7)
    right.legend()
    return fig


def error_exponent(record: Record) -> Figure:
    """The same against log_d n, where a method that needs d^s samples falls at s."""
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    for ax, method in zip(axes, (NETWORK, "exponential kernel"), strict=True):
        for d, (hue, marker) in shades(dimensions(record)).items():
            if d in dimensions(record, method):
                n, values = curves(record, method, "error", d)
                ax.plot(np.log(n) / math.log(d), values.mean(axis=0), color=hue, marker=marker, label=f"d = {d}")
        ax.axvline(2, color="#7F7F7F", linestyle=(0, (2, 2)), linewidth=1, label="$n = d^2$")
        ax.set(title=method, xlabel="$\\log_d n$", ylim=(0, 1.1))
    axes[0].set_ylabel("test error / Var h")
    axes[0].legend()
    return fig


def feature(record: Record) -> Figure:
    """corr(g_u, p) with limits and learning curves, and the number of samples that a fixed correlation needs against d."""
    fig, (left, right) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    dims = dimensions(record)
    for d, (hue, marker) in shades(dims).items():
        n, values = curves(record, NETWORK, "corr_relative", d)
        left.plot(n / d**2, values.mean(axis=0), color=hue, marker=marker, linestyle="none", label=f"d = {d}")
        grid, predicted = theoretical(theory.recovery_theory, n, d)
        left.plot(grid / d**2, np.array(predicted) / targets.feature_limit(2, d), color=hue, linewidth=0.9)
    left.axhline(1, color="#7F7F7F", linestyle="--", linewidth=0.9, label="population limit")
    left.axhline(RECOVERED, color="#444444", linewidth=0.7, label="level read at right")
    left.set(ylabel="corr($g_u$, p) / its limit", ylim=(0.3, 1.05))
    ratio_axis(left, sorted(record.select(experiment="sweep")["ratio"].unique()))
    left.legend(title="lines: proportional limit", title_fontsize=7)

    rows = record.select(experiment="recovery")
    dims = [int(d) for d in sorted(rows["d"].unique())]
    try:
        needed = {d: rows[rows["d"] == d].groupby("seed").apply(samples_needed) for d in dims}
    except NotRun as reason:
        right.text(0.5, 0.5, f"not run:\n{reason}", ha="center", va="center", wrap=True)
        return fig
    samples = pd.DataFrame(needed)
    log_band(right, dims, samples.to_numpy(), f"measured (95% CI, n = {len(samples)})")
    fitted = log_log_fit(dims, np.exp(np.log(samples).mean()))
    right.plot(dims, fitted.predict(dims), color="black", linewidth=0.8, label=f"fit, slope {fitted.slope:.2f}")
    middle = np.exp(np.log(samples).to_numpy().mean())
    right.plot(dims, middle * (np.array(dims) / np.exp(np.mean(np.log(dims)))) ** 2, color="#7F7F7F", linestyle=":", label="slope 2 (theory)")
    log_dimension_axis(right, dims)
    right.set(ylabel=f"n for {RECOVERED:g} of the limit (log 10)", yscale="log")
    right.legend()
    return fig


def log_dimension_axis(ax, dims: list[int]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(dims, [str(d) for d in dims])
    ax.minorticks_off()
    ax.set_xlabel("dimension d (log 2)")


def stein(record: Record) -> Figure:
    """Distance of P_2 h / E[g'] from p against d, log-log."""
    fig, ax = plt.subplots(figsize=ONE_COLUMN)
    table = record.select(experiment="stein").pivot(index="seed", columns="d", values="gap").astype(float)
    dims = [int(d) for d in table.columns]
    log_band(ax, dims, table.to_numpy(), f"Monte Carlo (95% CI, n = {len(table)})")
    ax.plot(dims, 2 / np.sqrt(dims), color="black", linewidth=0.8, label="exact, $2/\\sqrt{d}$")
    fitted = log_log_fit(dims, table.mean())
    ax.plot(dims, fitted.predict(dims), color=colour("baseline"), linestyle="--", linewidth=0.9, label=f"fit, slope {fitted.slope:.3f}")
    log_dimension_axis(ax, dims)
    ax.set(ylabel="$|P_2 h / E[g'] - p|$ (log 10)", yscale="log")
    ax.legend()
    return fig


def learned_link(record: Record) -> Figure:
    """h_theta against p on test points beside g, at the smallest and largest n of the largest dimension compared: one seed."""
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharex=True, sharey=True)
    rows = record.select(experiment="sweep", method=NETWORK, d=largest_dimension(record.trials), seed=record.seeds[0]).sort_values("n")
    t = torch.linspace(-3, 3.5, 100, dtype=torch.float64)
    for ax, (_, row) in zip(axes, [*rows.iloc[[0, -1]].iterrows()], strict=True):
        ax.scatter(row["sample_p"], row["sample_prediction"], s=6, color=colour("method"), label="$h_\\theta(x)$, test points")
        ax.plot(t, targets.link("generic", t), color="black", linewidth=0.9, label="g(p)")
        ax.set(title=f"d = {row['d']:.0f}, $n = {row['ratio']:g}\\, d^2$", xlabel="hidden feature p(x)", xlim=(-3, 3.5), ylim=(-2, 8))
    axes[0].set_ylabel("output")
    axes[0].legend()
    return fig


def descent(record: Record) -> Figure:
    """Distance of gradient descent's predictions from those of the closed forms, stage by stage."""
    fig, ax = plt.subplots(figsize=ONE_COLUMN)
    condition = {"experiment": "descent"}
    steps = record.curve("steps", **condition)[0]
    for stage, role in ((1, "method"), (2, "baseline")):
        log_band(ax, steps, record.curve(f"distance{stage}", **condition), f"stage {stage}", role)
    ax.set(xlabel="steps (log 10)", ylabel="distance / |closed form| (log 10)", xscale="log", yscale="log")
    ax.legend(title=f"95% CI, n = {len(record.seeds)}", title_fontsize=7)
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
