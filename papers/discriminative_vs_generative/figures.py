"""Figures from the record: samples needed against the dimension, error against the number of labels, the assumptions' statistics.

python -m papers.discriminative_vs_generative.figures
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from shared.engine import Record, draw_figures
from shared.figures import ROLES, TWO_COLUMNS, band, colour, interval, style

NAMES = {"m_nb": "naive Bayes", "m_lr": "logistic regression", "error_nb": "naive Bayes", "error_lr": "logistic regression"}
ROLE = {"m_nb": "method", "m_lr": "baseline", "error_nb": "method", "error_lr": "baseline"}


def draw(record: Record) -> dict[str, Figure]:
    with style():
        figures = {"samples_needed": samples_needed(record)}
        if not record.select(experiment="features").empty:
            figures["features"] = error_curves(record, "features", "encoder", ("pretraining",))
            figures["assumptions"] = assumptions(record)
        figures["raw_data"] = error_curves(record, "raw", "dataset", ())
    return figures


def samples_needed(record: Record) -> Figure:
    """m* against n, one panel per K, with the fitted power of n of each classifier in the legend."""
    rows = record.select(experiment="simulation")
    classes = sorted(int(K) for K in rows["K"].unique())
    fig, axes = plt.subplots(1, len(classes), figsize=(TWO_COLUMNS[0], 2.7), sharey=True, squeeze=False)
    for ax, K in zip(axes[0], classes, strict=True):
        dimensions = np.array(sorted(rows[rows["K"] == K]["n"].unique()))
        for metric in ("m_nb", "m_lr"):
            needed = np.stack([record.curve(metric, experiment="simulation", K=K, n=n) for n in dimensions], axis=1)  # (seeds, n)
            fitted = dimensions >= 50  # the claims' range; n = 25 is shown only
            label = NAMES[metric]
            if fitted.sum() >= 2:
                powers = [np.polyfit(np.log(dimensions[fitted]), np.log(m[fitted]), 1)[0] for m in needed]
                label += f" $\\propto n^{{{np.mean(powers):.2f}}}$"
            band(ax, dimensions, needed, label, ROLE[metric], marker=True, show_n=False)
            for m in needed:
                ax.scatter(dimensions, m, s=4, color=colour(ROLE[metric]), alpha=0.4, linewidth=0)
            start = needed[:, 0].mean()
            if metric == "m_lr":
                ax.plot(dimensions, start * dimensions / dimensions[0], color="#999999", linestyle=":", linewidth=1, label="slope 1")
            else:
                ax.plot(dimensions, start * np.log(dimensions) / np.log(dimensions[0]), color="#444444", linestyle="--", linewidth=0.8, label="$\\log n$")
        ax.set(xscale="log", yscale="log", xlabel="dimension $n$ (log)", title=f"K = {K} classes")
        ax.set_xticks(dimensions, [f"{n:g}" for n in dimensions])
        ax.minorticks_off()
        ax.legend(loc="upper left", handlelength=1.6)
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set(ylabel="samples needed $m^*$ (log)", ylim=(low, high * 8))
    fig.supxlabel(f"dots: seeds; bands: 95% CI, n = {len(record.seeds)}", fontsize=6.5, x=0.99, ha="right")
    return fig


def error_curves(record: Record, experiment: str, kind: str, annotations: tuple[str, ...]) -> Figure:
    """Test error against m, one panel per encoder or data set."""
    rows = record.select(experiment=experiment)
    panels = list(rows[kind].unique())
    fig, axes = plt.subplots(1, len(panels), figsize=(3.3 * max(2, len(panels)), 2.4), sharey=experiment == "features", squeeze=False)
    for ax, panel in zip(axes[0], panels, strict=True):
        where = {"experiment": experiment, kind: panel}
        m = record.curve("m", **where)[0]
        for metric in ("error_nb", "error_lr"):
            band(ax, m, record.curve(metric, **where), NAMES[metric], ROLE[metric], marker=True, show_n=False)
        by_C = record.curve("error_lr_by_C", **where).mean(axis=0)  # (m, C)
        Cs = record.curve("Cs", **where)[0]
        for i, C in enumerate(Cs):  # the larger C, the darker; the darkest stands in the legend
            label = f"fixed C: {Cs[0]:g} (pale) to {C:g} (dark)" if i == len(Cs) - 1 else None
            ax.plot(m, by_C[:, i], color=colour("baseline"), linewidth=0.6, alpha=np.linspace(0.3, 1, len(Cs))[i], label=label)
        extra = "".join(f" ({name}: {rows[rows[kind] == panel][name].iloc[0]})" for name in annotations)
        ax.set(xscale="log", xlabel="labelled examples $m$ (log)", title=f"{panel.replace('_', ' ')}{extra}")
        ax.set_xticks(m, [f"{size:g}" for size in m])
        ax.minorticks_off()
        ax.set_ylim(bottom=0)
    axes[0, 0].set_ylabel("test error")
    axes[0, 0].legend(loc="upper right")
    fig.supxlabel(f"logistic regression: C chosen on held-out training examples; bands: 95% CI, n = {len(record.seeds)}", fontsize=6.5, x=0.99, ha="right")
    return fig


def assumptions(record: Record) -> Figure:
    """Histograms, over features or class triples, of the quantities that the theorems bound; drawn from the recorded percentiles of all seeds."""
    encoders = list(record.select(experiment="features")["encoder"].unique())
    quantities = {
        "sigma2": "shared variance $\\sigma_j^2$",
        "beta": "$|\\beta_{k_1,k_2,k}|$: mean log-likelihood gap / n",
        "alpha": "$\\alpha_{k_1,k_2,k}$: its variance / n",
    }
    fig, axes = plt.subplots(len(encoders), 3, figsize=(TWO_COLUMNS[0], 1.6 * len(encoders) + 0.5), sharex="col", squeeze=False)
    for row, encoder in zip(axes, encoders, strict=True):
        for ax, name in zip(row, quantities, strict=True):
            values = record.curve(name, experiment="features", encoder=encoder)  # (seeds, 101)
            top = max(record.curve(name, experiment="features", encoder=other).max() for other in encoders)
            ax.hist(values.ravel(), bins=np.linspace(0, top, 30), weights=np.full(values.size, 1 / values.size), color=colour("method"), alpha=0.7)
            tenth = interval(values[:, 10])[0]
            ax.axvline(tenth, color=ROLES["control"][0], linestyle=":", linewidth=1, label=f"1st decile {tenth:.2g}")
            ax.legend(loc="upper right")
        row[0].set_ylabel(f"{encoder.replace('_', ' ')}\nshare")
    for ax, label in zip(axes[-1], quantities.values(), strict=True):
        ax.set_xlabel(label)
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
