"""Figures from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.universality_lens.model import named_functions
from shared.engine import Record, draw_figures
from shared.figures import ROLES, TWO_COLUMNS, band, colour, criterion, log_band, style, whiskers

LINES = ("method", "baseline", "baseline2")


def networks(record: Record, **where) -> dict:
    """The condition of E1 under Gaussian networks, of the width at which baselines were run unless told."""
    return {"experiment": "boolean", "law": "gaussian", "H": record.config["drawn_width"]} | where


def small_print(fig: Figure, record: Record, text: str = "") -> None:
    """What bands and dots are, below the axes."""
    fig.supxlabel(f"{text}bands and whiskers: 95% CI over seeds, n = {len(record.seeds)}", fontsize=6.5, x=0.99, ha="right")


def regret(record: Record) -> Figure:
    """(1) Regret of each target against n, with ln(1 / W), the bound, the two-part code and the price of knowing nothing."""
    names = list(named_functions(record.config["d"]))
    fig, axes = plt.subplots(2, 3, figsize=(TWO_COLUMNS[0], 4.2), sharex=True)
    where = networks(record)
    sizes, parts = record.curve("sizes", **where)[0], record.curve("two_part_sizes", **where)[0]
    for i, (ax, name) in enumerate(zip(axes.flat, names, strict=True)):
        weight = record.curve("weight", **where)[:, i]
        ax.plot(sizes, record.curve("bound", **where)[:, i].mean(axis=0), color="#000000", linestyle=":", linewidth=1, label="bound")
        band(ax, parts, record.curve("two_part_regret", **where)[:, i], "two-part code (MAP)", "baseline", show_n=False)
        if not record.select(law="functions").empty:
            flat = record.curve("exact", experiment="boolean", law="functions")
            ax.plot(sizes, flat.mean(axis=0), color=colour("control"), linestyle=ROLES["control"][2], label="all functions alike (exact)")
        band(ax, sizes, record.curve("regret", **where)[:, i], "mixture over networks", "method", show_n=False)
        heavy = weight > 0
        if heavy.all():
            level = np.log(1 / weight).mean()
            ax.axhline(level, color="#444444", linewidth=0.7, linestyle="--", label="$\\ln 1/W_0$")
            ax.set_title(f"{name}: $W_0$ = {weight.mean():.2g}")
        else:
            level = record.curve("regret", **where)[:, i, -1].mean()
            ax.set_title(f"{name}: $W_0$ = 0 for {(~heavy).sum()} of {len(heavy)} seeds", fontsize=7.5)
        ax.set(xscale="log", ylim=(0, 1.45 * level), xlabel="labels $n$ (log)" if i > 2 else "", ylabel="regret $R_n$ (nats)" if i % 3 == 0 else "")
    axes[0, 0].legend(loc="lower right", fontsize=6)
    small_print(fig, record, f"random networks of width {record.config['drawn_width']}, labels flipped with probability {record.config['q']}; ")
    return fig


def weights(record: Record) -> Figure:
    """(2) Weights by rank for all widths and laws; regret of simple targets against width."""
    fig, (spectrum, width) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    rows = {f"H = {H}": networks(record, H=H) for H in record.config["widths"]}
    rows["limit of wide networks"] = {"experiment": "boolean", "law": "limit"}
    rows[f"H = {record.config['drawn_width']}, bounded uniform"] = networks(record, law="uniform")
    for (label, where), role in zip(rows.items(), ROLES, strict=False):
        row = record.select(**where).sort_values("seed").iloc[0]
        spectrum.plot(row.ranks, row.ranked_weights, color=colour(role), linestyle=ROLES[role][2], label=label)
    size = 2**2 ** record.config["d"]
    spectrum.axhline(1 / size, color=colour("control"), linewidth=0.7, label="all functions alike")
    spectrum.set(xscale="log", yscale="log", xlabel="rank of the function (log)", ylabel="weight (log)", title="weights, first seed")
    spectrum.legend(fontsize=6)
    names = list(named_functions(record.config["d"]))[:3]
    for i, (name, role) in enumerate(zip(names, LINES, strict=True)):
        for place, where in enumerate(rows.values()):
            half = record.curve("sizes", **where)[0] == record.config["n_max"] // 2
            whiskers(width, place, record.curve("regret", **where)[:, i, half][:, 0], name if place == 0 else None, role)
    width.set_xticks(range(len(rows)), [label.replace(" of wide networks", "").replace(", bounded", ",\nbounded") for label in rows], rotation=25)
    width.set(ylabel=f"regret at n = {record.config['n_max'] // 2} (nats)", title="simple targets", ylim=(0, None))
    width.legend(ncols=3, loc="lower left", fontsize=6.5)
    small_print(fig, record)
    return fig


def sample_need(record: Record) -> Figure:
    """(3) Labels needed against ln(1 / W); the exact regrets on the square against their bound."""
    fig, (need, square) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    for _, row in record.select(**networks(record)).iterrows():
        for named, role, label in ((False, "method", "drawn from the prior"), (True, "baseline", "named")):
            chosen = row.target_named.astype(bool) == named
            need.scatter(
                -row.target_log_weight[chosen], row.target_needs[chosen], s=8, color=colour(role), marker=ROLES[role][1], alpha=0.6, linewidth=0,
                label=label if row.seed == record.seeds[0] else None,
            )  # fmt: skip
    found = record.claim("simple-learn-faster")
    need.set(
        xlabel="$\\ln 1/W_0$",
        ylabel="labels until excess < 0.02 nats",
        ylim=(0, None),
        title=f"Spearman {found['mean']:.2f} [{found['low']:.2f}, {found['high']:.2f}]",
    )
    need.title.set_fontsize(7)
    need.legend(loc="lower right")
    where = {"experiment": "exact"}
    sizes = record.curve("sizes", **where)[0]
    for i, (name, role) in enumerate(zip(named_functions(2), ("method", "baseline", "baseline2", "baseline3"), strict=True)):
        band(square, sizes, record.curve("exact", **where)[:, i], name, role, show_n=False)
        square.plot(sizes, record.curve("bound", **where)[:, i].mean(axis=0), color=colour(role), linestyle=":", linewidth=0.9)
        sampled = record.curve("regret", **where)[0, i], record.curve("regret_error", **where)[0, i]
        square.errorbar(
            sizes[3::4], sampled[0][3::4], 2 * sampled[1][3::4], color=colour(role), marker=ROLES[role][1], linestyle="none", capsize=1.5, markersize=2.5
        )
    square.set(xlabel="labels $n$", ylabel="regret (nats)", title="d = 2, exact; dotted: bound; marks: sampled, first seed", ylim=(0, None))
    square.title.set_fontsize(7)
    square.legend()
    small_print(fig, record)
    return fig


def growth(record: Record) -> Figure:
    """(4) R_n against ln n: redundant Gaussian parameters, the singular model, coins on grids."""
    fig, (gauss, product, grid) = plt.subplots(1, 3, figsize=(TWO_COLUMNS[0], 2.9))
    for k, role in zip(record.config["effective"], LINES, strict=False):
        for m in record.config["redundant"]:
            if m < k:
                continue
            where = {"experiment": "gaussian", "k": k, "m": m}
            sizes = record.curve("sizes", **where)[0]
            values = record.curve("regret", **where)
            gauss.plot(sizes, values.mean(axis=0), color=colour(role), marker=ROLES[role][1], markersize=2, linewidth=0.6, alpha=0.8)
            if m == max(record.config["redundant"]):
                band(gauss, sizes, values, f"k = {k}, m = {k if k > 1 else 1} to {m}", role, show_n=False)
                middle = values.mean(axis=0)
                fit = np.polyfit(np.log(sizes[sizes >= 100]), middle[sizes >= 100], 1)
                gauss.plot(sizes, k / 2 * np.log(sizes / sizes[-1]) + middle[-1], color="#000000", linestyle=":", linewidth=0.9)
                gauss.annotate(f"fit {fit[0]:.2f}", (sizes[-1], middle[-1]), xytext=(0, -14), textcoords="offset points", fontsize=6, ha="right", va="top")
    gauss.set(xscale="log", xlabel="examples $n$ (log)", ylabel="regret (nats)", title="m parameters, k matter; dotted: $(k/2)\\ln n$")
    gauss.legend(fontsize=6)
    for mu0, role, label in ((1.0, "baseline", "$\\theta_1\\theta_2 = 1$ (regular)"), (0.0, "method", "$\\theta_1\\theta_2 = 0$ (singular)")):
        where = {"experiment": "singular", "mu0": mu0}
        sizes = record.curve("sizes", **where)[0]
        product.plot(sizes, record.curve("exact", **where)[0], color=colour(role), linestyle=ROLES[role][2], label=label)
    product.plot(
        sizes,
        record.curve("asymptote", experiment="singular", mu0=1.0)[0],
        color="#000000",
        linestyle=":",
        label="$\\frac{1}{2}\\ln\\frac{n}{2\\pi e} - \\ln w$",
    )
    product.set(xscale="log", xlabel="examples $n$ (log)", title="$y \\sim N(\\theta_1\\theta_2, 1)$, exact")
    product.legend(fontsize=6)
    for K, role in zip(record.config["grids"], ROLES, strict=False):
        where = {"experiment": "coins", "K": K}
        sizes = record.curve("sizes", **where)[0]
        grid.plot(
            sizes,
            record.curve("exact", **where)[0],
            color=colour(role),
            linestyle=ROLES[role][2],
            marker=ROLES[role][1],
            markersize=3,
            label=f"{K} ($\\ln K$ = {np.log(K):.1f})",
        )
    grid.plot(sizes, record.curve("continuum", **where)[0], color="#000000", linewidth=0.7, label="continuum")
    grid.set(xscale="log", xlabel="tosses $n$ (log)", title="fair coin among K, exact", ylim=(0, None))
    grid.legend(fontsize=6)
    for ax in (gauss, product, grid):
        ax.title.set_fontsize(7)
    small_print(fig, record)
    return fig


LEARNERS = {
    "loss_mle": ("MLE", "baseline"),
    "loss_mle_stopped": ("MLE, oracle stop", "baseline"),
    "loss_map": ("MAP", "baseline2"),
    "loss_single": ("one draw", "baseline3"),
    "loss_ensemble": ("one chain's ensemble", "method"),
    "loss_all_chains": ("all chains", "method"),
    "loss_distilled": ("distilled", "variant"),
    "loss_exact": ("exact mixture", "theory"),
}


def langevin(record: Record) -> Figure:
    """(5) Test log-loss of single models, ensembles and, for the linear model, the exact mixture."""
    tasks = record.config["tasks"]
    fig, axes = plt.subplots(1, len(tasks), figsize=(TWO_COLUMNS[0], 3.0), squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=True):
        shown = {}
        for shift, batch in zip((-0.15, 0.15), record.config["batches"], strict=False):
            rows = record.select(experiment="langevin", task=task, batch=batch)
            learners = [name for name in LEARNERS if name in rows and rows[name].notna().all()]
            for place, name in enumerate(learners):
                label, role = LEARNERS[name]
                whiskers(ax, place + shift, rows[name], None, role)
                shown[place] = label
        ax.set_xticks(list(shown), list(shown.values()), rotation=60, ha="right")
        ax.set(title=task.replace("_", " "))
    axes[0, 0].set_ylabel("test log-loss (nats)")
    batches = ", right: b = ".join(map(str, record.config["batches"]))
    small_print(fig, record, f"left: b = {batches}; ")
    return fig


def diagnostics(record: Record) -> Figure:
    """(6) Have the chains sampled? Variance along each direction of the exact posterior, R-hat and effective size of predictions, temperature."""
    fig, (variance, agreement, size, heat) = plt.subplots(1, 4, figsize=(TWO_COLUMNS[0], 2.8), width_ratios=(1.5, 1, 1, 1))
    tasks, batches = record.config["tasks"], record.config["batches"]
    roles = dict(zip(batches, ("method", "baseline"), strict=False))
    for batch, role in roles.items():
        where = {"experiment": "langevin", "task": "diabetes", "batch": batch}
        h = record.curve("curvature", **where).mean(axis=0)
        log_band(variance, h, record.curve("relative_variance", **where), f"b = {batch}", role)
    variance.plot(h, record.curve("relative_variance_expected", **where).mean(axis=0), color="#000000", linestyle=":", label="$1/(1 - \\epsilon h/4)$")
    variance.set(xscale="log", xlabel="curvature $h$ (log)", ylabel="variance $\\times\\ h$", title="diabetes: 1 = exact")
    variance.legend(fontsize=6)
    for place, task in enumerate(tasks):
        for shift, (batch, role) in zip((-0.12, 0.12), roles.items(), strict=False):
            where = {"experiment": "langevin", "task": task, "batch": batch}
            whiskers(agreement, place + shift, record.curve("r_hat_predictions", **where).max(axis=1), None, role)
            whiskers(size, place + shift, np.median(record.curve("size_predictions", **where), axis=1), None, role)
            whiskers(heat, place + shift, record.curve("temperature", **where), None, role)
    criterion(agreement, None, 1.1, None)
    criterion(heat, 0.9, 1.1, None)
    for ax, title in ((agreement, "largest split $\\hat R$"), (size, "median effective size"), (heat, "temperature")):
        ax.set_xticks(range(len(tasks)), [task.replace("_", " ") for task in tasks], rotation=45, ha="right")
        ax.set_title(title)
    size.set_ylim(0, None)
    small_print(fig, record, "$\\hat R$ and sizes: over predictions for 100 test inputs; ")
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        drawings = (regret, weights, sample_need, growth, langevin, diagnostics)
        return {drawing.__name__: drawing(record) for drawing in drawings}


if __name__ == "__main__":
    draw_figures(__file__)
