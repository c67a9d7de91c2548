"""Figures from the record alone: the taxonomy of activations, singular kernels, accuracy against n, depth, and real data."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.wide_deep_classifiers.model import ACTIVATIONS, alpha, ends, limit_rule
from shared.engine import Record, draw_figures
from shared.figures import TWO_COLUMNS, band, colour, criterion, interval, style, whiskers

ROLE = {
    "2d_opt": "method",
    "3d_opt": "variant",
    "5d_opt": "variant2",
    "9d_opt": "baseline3",
    "erf": "baseline2",
    "sine_2.676": "baseline2",
    "sine_6.1": "baseline2",
}
RULE_ROLE = {"singular": "method", "majority": "baseline", "nearest": "baseline2"}
RULE_NAME = {"singular": "singular kernel", "majority": "majority vote", "nearest": "1-nearest neighbour"}
SHOWN = ("2d_opt", "3d_opt", "5d_opt", "9d_opt", "erf", "hermite_2", "fast_majority")
CLAIM_SIZE = 1000
LABEL_AT = {
    "9d_opt": (-4, -7),
    "5d_opt": (-4, 4),
    "3d_opt": (5, -2),
    "sine_1": (5, 0),
    "erf": (5, -5),
    "relu": (-5, -4),
    "sine_2.676": (6, -3),
    "fast_majority": (4, -6),
}
LEFT = ("9d_opt", "5d_opt", "relu")


def draw(record: Record) -> dict[str, Figure]:
    """All figures by file name."""
    with style():
        return {
            "taxonomy": taxonomy(record),
            "singular_kernels": singular_kernels(record),
            "accuracy": accuracy(record),
            "depth": depth(record),
            "real_data": real_data(record),
        }


def taxonomy(record: Record) -> Figure:
    """Activations by the two ends of their duals, and which rule each deep network was seen to follow."""
    fig, (ax, agree) = plt.subplots(1, 2, figsize=(7.0, 3.5), width_ratios=(1.15, 1))
    x = np.geomspace(1e-6, 0.98, 300)
    for d in (1, 2, 4, 8):  # alpha = d: ln phi^'(1) = -2 ln phi^'(0) / d
        ax.plot(x, x ** (-2 / d), color="#999999", linewidth=0.7)
    for name, dual in ACTIVATIONS.items():
        A2, A1_2, B1 = ends(dual)
        rule = limit_rule(dual)
        place = max(A1_2, 1e-6)
        ax.plot(place, B1, "o" if A2 == 0 else "s", color=colour(RULE_ROLE[rule]))
        text = f"{name} ({alpha(dual):.3g})" if rule == "singular" else name
        ax.annotate(text, (place, B1), xytext=LABEL_AT.get(name, (4, 2)), textcoords="offset points", fontsize=6, ha="right" if name in LEFT else "left")
    for rule, role in RULE_ROLE.items():
        ax.plot([], [], "o", color=colour(role), label=RULE_NAME[rule])
    ax.plot([], [], color="#999999", linewidth=0.7, label="$\\alpha$ = 1, 2, 4, 8 (right to left)")
    ax.set(
        xscale="log",
        yscale="log",
        xlim=(5e-7, 8),
        ylim=(0.6, 100),
        xlabel="$\\hat\\phi'(0) = A'^2$ (log; 0 drawn at $10^{-6}$)",
        ylabel="$\\hat\\phi'(1) = B'$ (log)",
    )
    ax.legend(
        loc="upper right",
        title="limit (exponent $\\alpha$); square: $A \\neq 0$",
        title_fontsize=6.5,
        fontsize=6.2,
        frameon=True,
        framealpha=1,
        edgecolor="none",
    )

    names = [name for name in SHOWN if not record.select(experiment="sphere", d=1, activation=name).empty]
    for metric, role, marker, label in (
        ("as_nearest", "baseline2", "^", "1-NN"),
        ("as_majority", "baseline", "s", "majority vote"),
        ("as_hilbert", "method", "o", "Hilbert estimate"),
    ):
        for d, face in ((1, colour(role)), (2, "white")):
            shares = np.stack([at_claim_size(record, metric, d, name) for name in names], axis=1)  # (seeds, activations)
            mean, low, high = interval(shares)
            at = np.arange(len(names)) + (0.13 if d == 2 else -0.13)
            whisker = {"color": colour(role), "marker": marker, "markerfacecolor": face, "linestyle": "none", "capsize": 2}
            agree.errorbar(mean, at, xerr=[mean - low, high - mean], label=f"{label}, $S^{d}$", **whisker)
    agree.set(yticks=range(len(names)), yticklabels=names, xlabel=f"share of test points classified alike, n = {CLAIM_SIZE}", xlim=(0.55, 1.02))
    agree.invert_yaxis()
    agree.legend(loc="upper left", bbox_to_anchor=(-0.2, -0.2), ncols=3, fontsize=6, title=f"95% CI over {len(record.seeds)} seeds", title_fontsize=6)
    return fig


def at_claim_size(record: Record, metric: str, d: int, name: str) -> np.ndarray:
    """A curve of a deep network at n = 1000, or at the largest n of a smaller run: one value per seed."""
    condition = {"experiment": "sphere", "d": d, "activation": name}
    sizes = list(record.curve("sizes", **condition)[0])
    return record.curve(metric, **condition)[:, sizes.index(CLAIM_SIZE) if CLAIM_SIZE in sizes else -1]


def singular_kernels(record: Record) -> Figure:
    """log K against log distance: NNGP, NTK at 60 layers, NTK in its limit; below, NNGP and fitted line times distance^alpha."""
    fig, axes = plt.subplots(1, 3, figsize=(7.0, 3.0))
    for name in record.config["exponents"]:
        condition = {"experiment": "exponent", "activation": name}
        row = record.select(**condition).iloc[0]
        distance = record.curve("distance", **condition)[0]
        hue, dash = colour(ROLE.get(name, "control")), ":" if name.startswith("sine") else "-"
        log_K = {kind: record.curve(f"log_{kind}", **condition)[0] / np.log(10) for kind in ("nngp", "ntk")}
        label = f"{name}: {row.exponent_nngp:.3f}, {row.exponent_ntk:.2f}"
        axes[0].plot(distance, log_K["nngp"], color=hue, linestyle=dash, label=label)
        axes[1].plot(distance, log_K["ntk"], color=hue, linestyle=dash, label=name)
        compensated = log_K["nngp"] + row.alpha * np.log10(distance)
        axes[2].plot(distance, 10 ** (compensated - compensated[distance < 1e-2].mean()), color=hue, linestyle=dash)
        for ax, kind, slope in ((axes[0], "nngp", row.alpha), (axes[1], "ntk", row.alpha + 2)):
            middle = np.argmin(abs(distance - 1e-3))
            theory = log_K[kind][middle] - slope * np.log10(distance / distance[middle])
            inside = (distance > 0.9e-4) & (distance < 1.1e-2)
            ax.plot(distance[inside], theory[inside], color="black", linewidth=3.2, alpha=0.18, zorder=0)
    axes[0].plot([], [], color="black", linewidth=3.2, alpha=0.18, label="theory, over the fit's range")
    axes[0].set(title=f"NNGP, L = {record.config['exponent_depth']}: exponent $\\alpha$", ylabel="log$_{10}$ $K\\, /\\, A'^{2L}$")
    axes[1].set(title="NTK, L = 60: exponent $\\alpha + 2$", ylabel="log$_{10}$ $K\\, /\\, (A'^{2L} (L + 1))$")
    axes[2].set(title="NNGP $\\times$ distance$^\\alpha$: $R$", ylabel="$R$, 1 at small distances", ylim=(0, None))
    for ax in axes:
        ax.set(xscale="log", xlabel="distance $|x - x'|$ (log)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, title="fitted exponents: NNGP, NTK at 60 layers", title_fontsize=7)
    return fig


def accuracy(record: Record) -> Figure:
    """Expected accuracy against n on every sphere; on S^1 also where infinitely many examples lead."""
    spheres = record.config["spheres"]
    fig, axes = plt.subplots(1, len(spheres), figsize=(7.0, 3.3), squeeze=False)
    for ax, d in zip(axes[0], spheres, strict=True):
        baselines = {"experiment": "sphere", "d": d, "activation": "baselines"}
        sizes = record.curve("sizes", **baselines)[0]
        ax.axhline(record.select(**baselines).expected_bayes.mean(), color="black", linewidth=1, label="Bayes")
        band(ax, sizes, record.curve("expected_hilbert", **baselines), "Hilbert estimate", "theory", show_n=False)
        band(ax, sizes, record.curve("expected_nearest", **baselines), "1-NN", "baseline", marker=True, show_n=False)
        band(ax, sizes, record.curve("expected_majority", **baselines), "majority vote", "control", marker=True, show_n=False)
        ax.lines[1].set(linestyle=(0, (4, 2)))
        for name in record.config["activations"]:
            if name in ROLE:
                curve = record.curve("expected", experiment="sphere", d=d, activation=name)
                band(ax, sizes, curve, f"{name} ($\\alpha$ = {alpha(ACTIVATIONS[name]):.2g})", ROLE[name], marker=True, show_n=False)
        if d == 1:
            for ratio, name in ((2.0, "3d_opt"), (4.0, "5d_opt"), (8.0, "9d_opt")):
                limit = record.select(experiment="limit", ratio=ratio).expected.mean()
                ax.scatter([sizes[-1] * 1.35], [limit], marker="<", s=16, color=colour(ROLE[name]), label="n → ∞ (Poisson vote)" if ratio == 2 else None)
        ax.set(xscale="log", xlabel="training points n (log)", title=f"$S^{d}$, ambient dimension {d + 1}")
        ax.set_xticks(sizes, [f"{n:g}" for n in sizes])
        ax.minorticks_off()
        if d > 1:
            far = record.curve("expected_majority", **baselines)[:, -1].mean()
            ax.set_ylim(bottom=record.curve("expected_nearest", **baselines).min() - 0.01)
            ax.set_title(f"$S^{d}$, below: majority vote, {far:.2f}")
    axes[0, 0].set_ylabel(f"expected accuracy\n(95% CI, n = {len(record.seeds)})")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return fig


def depth(record: Record) -> Figure:
    """Expected accuracy and mean squared error of 2d_opt on S^1 against depth."""
    fig, (left, right) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    condition = {"experiment": "sweep"}
    depths = record.curve("depths", **condition)[0]
    rows = record.select(**condition)
    band(left, depths, record.curve("expected", **condition), "2d_opt", marker=True)
    left.axhline(rows.expected_majority.mean(), color=colour("control"), linestyle=":", label="majority vote")
    left.axhline(rows.expected_bayes.mean(), color="black", linewidth=0.9, label="Bayes")
    left.set(ylabel="expected accuracy", ylim=(0.45, 0.8))
    mse = record.curve("mse", **condition)
    mean, low, high = (10**limit for limit in interval(np.log10(mse)))
    right.plot(depths, mean, color=colour("method"), marker="o", label=f"2d_opt (95% CI, n = {len(record.seeds)}, of log)")
    right.fill_between(depths, low, high, color=colour("method"), alpha=0.2, linewidth=0)
    right.axhline(1, color=colour("control"), linestyle=":", label="predicting 0")
    right.set(yscale="log", ylabel="mean squared error (log)", ylim=(None, 100 * high.max()))
    for ax in (left, right):
        ax.set(xscale="log", xlabel="layers L (log)")
        ax.set_xticks(depths, [f"{L:g}" for L in depths])
        ax.minorticks_off()
        ax.legend(loc="lower left" if ax is left else "upper right")
    return fig


def real_data(record: Record) -> Figure:
    """Accuracy on images, one score for each class; and ReLU's agreement with the majority vote beside its criterion."""
    fig, (ax, relu) = plt.subplots(1, 2, figsize=(7.0, 2.5), width_ratios=(2.4, 1))
    names = ["1-NN", *record.config["real_activations"]]
    base = record.select(experiment="real", activation="baselines")
    whiskers(ax, 0, base.accuracy_nearest, role="baseline")
    for place, name in enumerate(names[1:], 1):
        whiskers(ax, place, record.select(experiment="real", activation=name).accuracy)
    labels = [name if name == "1-NN" else f"{name}\n($\\alpha$ = {alpha(ACTIVATIONS[name]):.2g})" for name in names]
    ax.set_xticks(range(len(names)), labels)
    ax.set(ylabel="test accuracy", title=f"{record.config['real']}: dots are seeds, 95% CI, n = {len(record.seeds)}", xlim=(-0.5, len(names) - 0.5))
    depths = np.array(record.config["relu_depths"])
    curves = [1 - record.select(experiment="relu", layers=L).sort_values("seed").as_majority for L in depths]
    band(relu, depths, np.stack(curves, axis=1), "ReLU on $S^1$", marker=True, show_n=False)
    relu.plot(depths, curves[0].mean() * depths[0] / depths, color="black", linewidth=0.8, linestyle=":", label="rate 1/L")
    relu.set(
        xscale="log",
        yscale="log",
        xlabel="layers L (log)",
        ylabel="disagreement with\nmajority vote (log)",
        title=f"N = {record.config['relu_points']}, 95% CI, n = {len(record.seeds)}",
    )
    criterion(relu, None, 0.01, "agreement > 0.99")
    relu.legend()
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
