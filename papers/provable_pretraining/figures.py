"""The figures, drawn from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.provable_pretraining.claims import curves, largest, select, table
from shared.effects import log_log_slope
from shared.engine import Record, draw_figures
from shared.figures import TWO_COLUMNS, band, colour, interval, reported, style

METHODS = {
    "pretrain": ("two phases", "method"),
    "ols": ("least squares", "baseline"),
    "ridge": ("ridge, tuned", "baseline2"),
    "oracle": ("true latent", "control"),
}
"""Of linear problems: metric's ending -> label and role."""


def per_trial(rows) -> str:
    return f"95% CI over {len(rows)} seeds"


def exponent(x, values) -> str:
    """The slope of values (seeds, x) on x, with its interval over seeds, for a label."""
    if len(x) < 2:
        return "one setting"
    mean, low, high = interval(log_log_slope(np.asarray(x, float), np.asarray(values, float)))
    return f"slope {mean:.2f} [{low:.2f}, {high:.2f}]"


def means(ax, x, values, label: str, role: str) -> None:
    """Means over seeds, not of logarithms, since the exact errors are means; ``values`` is (seeds, x)."""
    band(ax, x, values, label, role, marker=True, show_n=False)


def ticks(ax, x) -> None:
    """The settings themselves as the marks of a logarithmic x axis."""
    ax.set_xticks(x, [f"{value:g}" for value in x])
    ax.set_xticks([], minor=True)


def exact_line(ax, x, y, label: str | None = None, dash="-") -> None:
    ax.plot(x, y, color="black", linewidth=0.8, linestyle=dash, label=label, zorder=5)


def log_axes(ax, x: str, y: str, **rest) -> None:
    ax.set(xscale="log", yscale="log", xlabel=f"{x} (log scale)", ylabel=f"{y} (log scale)", **rest)


def labels(record: Record) -> Figure:
    """Excess over n, with the noise that the factor model expects and with another."""
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    for ax, rho in zip(axes, sorted(select(record.trials, experiment="labels").rho.unique()), strict=False):
        rows = select(record.trials, experiment="labels", rho=rho)
        for name, (label, role) in METHODS.items():
            values = table(rows, f"excess_{name}", "n")
            means(ax, values.columns, values, label + (f", {exponent(values.columns, values)}" if name == "pretrain" else ""), role)
        for name in ("pretrain", "ols"):
            if f"exact_{name}" in rows and rows[f"exact_{name}"].notna().any():
                exact = table(rows.dropna(subset=[f"exact_{name}"]), f"exact_{name}", "n").mean()
                exact_line(ax, exact.index, exact, "exact mean" if name == "ols" else None)
        log_axes(ax, "labels n", "excess risk", title="white noise, as the model believes" if rho == 0 else f"noise AR(1), rho = {rho:g}")
        ax.set_ylim(1e-3, 60)
        ticks(ax, values.columns)
        ax.legend(fontsize=6, ncols=2, loc="upper left")
    axes[0].text(0.02, 0.02, per_trial(values), transform=axes[0].transAxes, fontsize=6)
    return fig


def unlabelled(record: Record) -> Figure:
    """Excess over m with many labels; and the floor through the threshold."""
    fig, (ax, threshold) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    for rho, role in zip(sorted(select(record.trials, experiment="unlabelled").rho.unique()), ("method", "variant2"), strict=False):
        rows = select(record.trials, experiment="unlabelled", rho=rho)
        m, excess = rows.m.iloc[0], curves(rows, "excess_pretrain")
        noise = "white noise" if rho == 0 else f"AR(1) noise, rho = {rho:g}"
        means(ax, m, excess, f"{noise}, {exponent(m, excess)}", role)
        if rho == 0:
            exact_line(ax, m, curves(rows, "exact_pretrain").mean(axis=0), r"exact, $(d-r)/((s^2+s^4)\,m)$ + labels")
            reported(ax, rows.excess_ols.mean(), f"least squares, n = {rows.n.iloc[0]:g}")
        else:
            ax.axhline(rows.population_floor.mean(), color=colour(role), linewidth=0.8, linestyle=(0, (4, 2)), label="its floor, m endless")
    log_axes(ax, "unlabelled m", "excess risk", ylim=(1e-4, 20), title=f"d = {rows.d.iloc[0]:g}, {per_trial(rows)}")
    ax.legend(fontsize=6, loc="upper right")
    rows = select(record.trials, experiment="threshold")
    share = rows.assign(share=rows.floor / rows.zero_excess, limit=rows.limit_floor / rows.zero_excess)
    values = table(share, "share", "ratio")
    means(threshold, values.columns, values, "floor, endless labels", "method")
    x = np.geomspace(values.columns.min(), values.columns.max(), 200)
    exact_line(threshold, x, np.minimum(1 / x, 1), r"limit, $\min(1, (d-r)/(s^4 m))$")
    log_axes(threshold, r"$m\,s^4/(d-r)$", "share of excess left", title=f"threshold, d = {rows.d.iloc[0]:g}, {per_trial(values)}")
    threshold.legend()
    return fig


def dimension(record: Record) -> Figure:
    """Excess over d at m proportional to d."""
    rows = select(record.trials, experiment="dimension")
    fig, ax = plt.subplots(figsize=(4.2, 3))
    for name, (label, role) in METHODS.items():
        values = table(rows, f"excess_{name}", "d")
        means(ax, values.columns, values, f"{label}, {exponent(values.columns, values)}", role)
    for name in ("pretrain", "ols"):
        exact = table(rows, f"exact_{name}", "d").mean()
        exact_line(ax, exact.index, exact, "exact mean" if name == "ols" else None)
    log_axes(ax, "dimension d", "excess risk", title=f"n = {rows.n.iloc[0]:g}, m = {rows.m.iloc[0] / rows.d.iloc[0]:g} d, {per_trial(values)}")
    ticks(ax, values.columns)
    ax.legend(fontsize=6)
    return fig


def crossover(record: Record) -> Figure:
    """ln(supervised / pretrained) over m and n, with the lines where they break even."""
    rows = select(record.trials, experiment="map")
    n, m = np.array(sorted(rows.n.unique())), rows.m.iloc[0]
    by_n = [rows[rows.n == count] for count in n]
    pretrained = np.log([curves(group, "excess_pretrain") for group in by_n]).mean(axis=1)  # (n, m)
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    for ax, rival in zip(axes, ("ols", "ridge"), strict=True):
        gain = np.log(np.array([group[f"excess_{rival}"].to_numpy(float) for group in by_n])).mean(axis=1)[:, None] - pretrained
        picture = ax.pcolormesh(m, n, gain, cmap="RdBu", vmin=-4, vmax=4, shading="nearest")
        ax.contour(m, n, gain, levels=[0], colors=colour("method"), linewidths=1.5)
        ax.plot([], [], color=colour("method"), linewidth=1.5, label="measured break-even")
        if rival == "ols":
            known = [group for group in by_n if "exact_ols" in group and group.exact_ols.notna().all()]
            exact = np.log([(group.exact_ols.to_numpy(float)[:, None] / curves(group, "exact_pretrain"))[0] for group in known])
            ax.contour(m, [group.n.iloc[0] for group in known], exact, levels=[0], colors="black", linewidths=0.8, linestyles="--")
            ax.plot([], [], color="black", linewidth=0.8, linestyle="--", label="break-even of the exact errors")
        log_axes(ax, "unlabelled m", "labels n", title=f"against {METHODS[rival][0]}, d = {rows.d.iloc[0]:g}")
        ax.legend(loc="lower right")
    fig.colorbar(picture, ax=axes, label="ln(excess supervised / two phases)")
    return fig


def mixture(record: Record) -> Figure:
    """Errors of the mixture over n, and over n for each m."""
    rows = select(record.trials, experiment="mixture").reset_index()
    fig, (ax, over_m) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    roles = {"pretrain": "method", "labels only": "variant", "ridge": "baseline", "logistic": "baseline2", "neighbours": "baseline3", "mlp": "variant2"}
    names = {"pretrain": "two phases", "labels only": "EM on the labelled inputs", "logistic": "logistic regression", "neighbours": "nearest neighbours"}
    for method, of_method in largest(rows).groupby("method", sort=False):
        band(ax, of_method.n.iloc[0], curves(of_method, "error"), names.get(method, method), roles[method], marker=True, show_n=False)
    pretrained = rows[rows.method == "pretrain"]
    n, exact = pretrained.n.iloc[0], pretrained.exact_error.iloc[0]
    exact_line(ax, n, exact, "exact error of the vote")
    ax.set(xscale="log", xlabel="labels n (log scale)", ylabel="error against psi(z)", title=f"m = {pretrained.m.max():g}, {per_trial(record.seeds)}")
    ticks(ax, n)
    ax.legend(fontsize=6)
    shades = plt.get_cmap("viridis")(np.linspace(0.05, 0.85, pretrained.m.nunique()))
    for hue, (m, of_m) in zip(shades, pretrained.groupby("m"), strict=True):
        mean, low, high = interval(curves(of_m, "mean_error"))
        over_m.plot(n, mean, color=hue, marker="o", label=f"m = {m:g}")
        over_m.fill_between(n, np.maximum(low, 1e-5), high, color=hue, alpha=0.2, linewidth=0)
    exact_line(over_m, n, exact + pretrained.bayes_error.mean(), "exact error of the vote + Bayes", (0, (4, 2)))
    reported(over_m, pretrained.bayes_error.mean(), "Bayes")
    log_axes(over_m, "labels n", "mean error of many label sets", ylim=(2e-4, 0.3), title="two phases, by unlabelled points")
    ticks(over_m, n)
    over_m.legend(fontsize=6)
    return fig


def contrastive(record: Record) -> Figure:
    """Excess over n with the most pairs, and the floor over m."""
    rows = select(record.trials, experiment="contrastive").reset_index()
    fig, (ax, over_m) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    best = largest(rows)
    n = best.n.iloc[0]
    for name, (label, role) in METHODS.items():
        means(ax, n, curves(best, f"excess_{name}"), label, role)
    exact_line(ax, n, best.exact_pretrain.iloc[0], "exact mean, two phases")
    log_axes(ax, "labels n", "excess risk", title=f"m = {best.m.iloc[0]:g} pairs, {per_trial(best)}")
    ticks(ax, n)
    ax.legend(fontsize=6)
    values = table(rows.set_index("seed"), "mean_floor", "m")
    means(over_m, values.columns, values, f"floor, endless labels, {exponent(values.columns, values)}", "method")
    exact_line(over_m, values.columns, table(rows.set_index("seed"), "limit_floor", "m").mean(), "(d - r) / (m information)")
    log_axes(over_m, "pairs m", "excess risk", ylim=(1.2e-3, 1.2e-2), title="the cost of the pairs")
    ticks(over_m, values.columns)
    over_m.legend(loc="lower left")
    return fig


def pictures(record: Record) -> Figure:
    """Test accuracy over labels on real images."""
    rows = select(record.trials, experiment="images")
    names = list(dict.fromkeys(rows.dataset))
    fig, axes = plt.subplots(1, len(names), figsize=TWO_COLUMNS, sharey=True, squeeze=False)
    entries = {
        "factors": ("latents (PPCA)", "method"),
        "mixture": ("vote in a mixture", "variant"),
        "scaled": ("latents, scaled", "variant2"),
        "pixels": ("pixels", "baseline"),
    }
    for ax, name in zip(axes[0], names, strict=True):
        of_set = rows[rows.dataset == name]
        for metric, (label, role) in entries.items():
            band(ax, of_set.n.iloc[0], curves(of_set, f"accuracy_{metric}"), label, role, marker=True, show_n=False)
        ax.set(xscale="log", xlabel="labels n (log scale)", ylabel="test accuracy", title=f"{name}, {per_trial(of_set)}")
        ticks(ax, of_set.n.iloc[0])
        ax.legend()
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        return {
            "labels": labels(record),
            "unlabelled": unlabelled(record),
            "dimension": dimension(record),
            "crossover": crossover(record),
            "mixture": mixture(record),
            "contrastive": contrastive(record),
            "images": pictures(record),
        }


if __name__ == "__main__":
    draw_figures(__file__)
