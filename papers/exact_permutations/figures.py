"""Figures from the record alone: ensemble sizes (Fig. 1 left), accuracy against ensemble size (Fig. 1 right), the law, growth, and width."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.exact_permutations.claims import OFFICIAL_90, OFFICIAL_999, THEORETICAL_BOUND
from shared.engine import Record, draw_figures
from shared.figures import TWO_COLUMNS, colour, interval, reported, reported_points, style, whiskers

ROLE = {"ntk": "method", "standard": "baseline"}
NAME = {"ntk": "NTK parametrisation", "standard": "standard (official code)"}


def draw(record: Record) -> dict[str, Figure]:
    """All figures by file name."""
    with style():
        return {
            "ensemble_size": ensemble_size(record),
            "accuracy": accuracy(record),
            "law": law(record),
            "growth": growth(record),
            "width": width(record),
        }


def ensemble_size(record: Record) -> Figure:
    """Networks for 90 % accuracy on two-hot inputs against k; our measurements as geometric means over seeds."""
    fig, ax = plt.subplots(figsize=(7.0, 3.2))
    reported(ax, THEORETICAL_BOUND, "paper's bound (about)")
    reported_points(ax, list(OFFICIAL_90), list(OFFICIAL_90.values()), "paper, 1 run each")
    n = len(record.seeds)
    for regime, role in ROLE.items():
        hue = colour(role)
        lengths, exact = (record.curve(name, experiment="exact", regime=regime)[0] for name in ("lengths", "exact_90"))
        ax.plot(lengths, exact, color=hue, linewidth=0.9, label=f"{NAME[regime]}: formula")
        trained = record.select(experiment="networks", regime=regime, width=record.config["width"])
        sampled = record.select(experiment="sampled", regime=regime)
        for rows, shift, marker, face, name in ((sampled, -0.12, "s", hue, "sampled"), (trained, 0.12, "*", "white", f"trained, m = {record.config['width']}")):
            k, sizes = zip(*[(k, interval(np.log(group.n_90))) for k, group in rows.groupby("k")], strict=True)
            mean, low, high = np.exp(np.array(sizes)).T
            place = np.array(k) + shift
            style = {"color": hue, "marker": marker, "markerfacecolor": face, "markersize": 6 if marker == "*" else 3.5, "capsize": 2.5, "linestyle": "none"}
            ax.errorbar(place, mean, [mean - low, high - mean], label=f"{name} (95% CI, n = {n})", **style)
    ax.set(xlabel="length k", ylabel="networks for 90% accuracy\n(geometric mean, log 10)", yscale="log", ylim=(2, 2e4))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def accuracy(record: Record) -> Figure:
    """Accuracy of a growing ensemble on 1000 two-hot inputs."""
    fig, axes = plt.subplots(1, 2, figsize=(5.8, 2.4), sharey=True)
    for ax, regime in zip(axes, ("standard", "ntk"), strict=True):
        lengths = sorted(record.select(experiment="sampled", regime=regime).k.unique())
        for k, hue in zip(lengths, plt.cm.viridis(np.linspace(0, 0.9, len(lengths))), strict=True):
            condition = {"experiment": "sampled", "regime": regime, "k": k}
            sizes = record.curve("sizes", **condition)[0]
            mean, low, high = interval(record.curve("accuracy", **condition))
            few = slice(5, None, 6 if regime == "standard" else 12)  # whiskers at a few sizes
            ax.plot(sizes, record.curve("accuracy_exact", **condition)[0], color=hue, linewidth=0.9)
            ax.errorbar(sizes[few], mean[few], [(mean - low)[few], (high - mean)[few]], color=hue, fmt="o", markersize=2, elinewidth=0.8, label=f"k = {k:.0f}")
            if regime == "standard":
                ax.scatter([OFFICIAL_90[k], OFFICIAL_999[k]], [0.9, 0.999], marker="D", s=22, facecolors="none", edgecolors=[hue], linewidths=1, zorder=3)
        ax.set(title=NAME[regime], xlabel="networks N", xlim=(0, sizes[-1] if regime == "ntk" else 400), ylim=(-0.02, 1.02))
    axes[0].set_ylabel("inputs answered exactly")
    title = f"lines: formula\ndots: sampled (95% CI,\nn = {len(record.seeds)})\ndiamonds: paper, first\nat 90% and 99.9%"
    axes[1].legend(title=title, title_fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def law(record: Record) -> Figure:
    """mu1, mu0 and the standard deviation of one network against the number of ones."""
    lengths = sorted(record.select(experiment="law").k.unique())
    fig, axes = plt.subplots(1, len(lengths), figsize=TWO_COLUMNS, sharey=True, squeeze=False)
    for ax, k in zip(axes[0], lengths, strict=True):
        for regime, role in ROLE.items():
            ones, one, zero, sd = (record.curve(name, experiment="law", regime=regime, k=k)[0] for name in ("ones", "law_one", "law_zero", "law_sd"))
            ax.plot(ones, one, color=colour(role), label=f"$\\mu_1$, {NAME[regime]}")
            ax.plot(ones[:-1], zero[:-1], color=colour(role), linestyle="--", label=f"$\\mu_0$, {NAME[regime]}")
            ax.plot(ones, sd, color=colour(role), linestyle=":", linewidth=3.5 if regime == "ntk" else 1.2, label=f"sd, {NAME[regime]}")  # they nearly coincide
        ax.axhline(0, color="#444444", linewidth=0.7)
        ax.set(title=f"k = {k:.0f}", xlabel="ones n of the input")
    axes[0, 0].set_ylabel("output of one network")
    axes[0, -1].legend()
    return fig


def growth(record: Record) -> Figure:
    """Networks for one input and for all inputs against k, with the theorems' rates."""
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    for ax, regime in zip(axes, ("ntk", "standard"), strict=True):
        rows = record.select(experiment="growth", regime=regime)
        first = rows[rows.seed == record.seeds[0]].sort_values("k")
        k = first.k.to_numpy(dtype=float)
        ax.plot(k, first.all_inputs_90, color=colour("variant2"), label="all inputs, union bound")
        ax.plot(k, first.one_input_90, color=colour(ROLE[regime]), label="one input, formula")
        for position, of_length in rows.groupby("k"):
            whiskers(ax, position, of_length.grown_90, f"one input, sampled (95% CI, n = {len(record.seeds)})" if position == k[0] else None, ROLE[regime])
        for label, rate, start, dash in (("k log k", k * np.log(k), first.one_input_90, (0, (1, 1))), ("k²", k**2, first.all_inputs_90, (0, (4, 2)))):
            ax.plot(k, rate * start.iloc[0] / rate[0], color="#7F7F7F", linestyle=dash, linewidth=0.9, label=f"rate {label}")
        ax.set(title=NAME[regime], xlabel="length k (log 10)", xscale="log", yscale="log")
        ax.set_xticks(k, [f"{value:.0f}" for value in k], minor=False)
        ax.minorticks_off()
    axes[0].set_ylabel("networks for 90% (log 10)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def width(record: Record) -> Figure:
    """Distance of the ensemble means of trained networks from the infinite-width law, against the width."""
    k = record.config["sweep_k"]
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    for ax, side, symbol in zip(axes, ("one", "zero"), ("\\mu_1", "\\mu_0"), strict=True):
        for regime, role in ROLE.items():
            rows = record.select(experiment="networks", regime=regime, k=k).sort_values("width")
            widths, groups = zip(*rows.groupby("width"), strict=True)
            mean, low, high = np.array([interval(group[f"mean_{side}"] - group[f"limit_{side}"]) for group in groups]).T
            place = np.array(widths) * (1.04 if regime == "standard" else 1 / 1.04)
            ax.errorbar(place, mean, [mean - low, high - mean], color=colour(role), marker="o", capsize=2.5, linestyle="none", label=NAME[regime])
            if regime == "ntk":
                ax.plot(widths, mean[0] * np.sqrt(widths[0] / np.array(widths)), color="#7F7F7F", linestyle=":", linewidth=0.9, label="rate $1/\\sqrt{m}$")
            else:
                drift = [(group[f"drift_{side}"] - group[f"limit_{side}"]).mean() for group in groups]
                ax.plot(widths, drift, color=colour(role), linestyle="--", linewidth=0.9, label="standard, kernel of width m")
        ax.axhline(0, color="#444444", linewidth=0.7)
        ax.set(title=f"mean of trained networks $-\\ {symbol}$", xlabel="width m (log 2)")
        ax.set_xscale("log", base=2)
        ax.set_xticks(widths, [f"{m:.0f}" for m in widths])
        ax.minorticks_off()
    axes[0].set_ylabel(f"difference, k = {k}, n = 2")
    axes[1].legend(title=f"95% CI over {len(record.seeds)} ensembles", title_fontsize=7)
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
