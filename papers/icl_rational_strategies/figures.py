"""Figures of the Bayesian account of in-context learning strategies, from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.icl_rational_strategies.claims import one_setting, switch_times
from papers.icl_rational_strategies.model import Learner, Strategies, log_posterior
from shared.effects import log_log_fit
from shared.engine import Record, draw_figures
from shared.figures import ONE_COLUMN, TWO_COLUMNS, band, colour, criterion, reported, style, whiskers


def heat(ax, row, values: np.ndarray, title: str, **options):
    """A map over (step, D); the hatched part lies before the interpolation threshold."""
    levels = np.arange(len(row.diversities) + 1) - 0.5
    edges = np.concatenate([row.steps[:1], (row.steps[1:] + row.steps[:-1]) / 2, row.steps[-1:]])
    drawn = ax.pcolormesh(edges, levels, values.T, rasterized=True, **options)
    ax.axvspan(edges[0], edges[int(row.first_kept)], facecolor="none", edgecolor="#888888", hatch="////", linewidth=0)
    ax.set(xscale="log", xlabel="training steps N (log)", title=title, yticks=np.arange(len(row.diversities)), yticklabels=row.diversities.astype(int))
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    return drawn


def mean_row(rows):
    """The averages over seeds of the curves that the maps show; the latest threshold."""
    mean = rows.iloc[0].copy()
    for name in ("w_id", "w_predicted", "w_ood", "loss_gap", "bits_M", "bits_G"):
        mean[name] = np.stack(rows[name]).mean(axis=0)
    mean["first_kept"] = rows.first_kept.max()
    return mean


def weight_maps(record: Record) -> Figure:
    rows = one_setting(record.trials)
    row = mean_row(rows)
    fig, axes = plt.subplots(1, 3, figsize=TWO_COLUMNS, sharey=True)
    shared = {"vmin": 0, "vmax": 1, "cmap": "RdBu_r"}
    heat(axes[0], row, row.w_id, "Transformer, training urns", **shared)
    heat(axes[1], row, row.w_predicted, "Bayesian model, predicted", **shared)
    drawn = heat(axes[2], row, row.w_ood, "Transformer, fresh urns", **shared)
    axes[0].set_ylabel("training urns D")
    fig.colorbar(drawn, ax=axes, label="weight of M (1 memorises)")
    fig.suptitle(f"Relative distance, mean of {len(rows)} seeds (hatched: before the interpolation threshold)", fontsize=8)
    return fig


def correlations(rows, observed: str) -> tuple[float, float]:
    """Pearson's r of predicted and observed weight over kept cells, and the same within a diversity (less its mean over checkpoints); seed means."""
    over_all, within = [], []
    for row in rows.itertuples():
        cells = [values[int(row.first_kept) :].astype(float) for values in (row.w_predicted, getattr(row, observed))]
        over_all.append(np.corrcoef(*(values.ravel() for values in cells))[0, 1])
        within.append(np.corrcoef(*((values - values.mean(axis=0)).ravel() for values in cells))[0, 1])
    return float(np.mean(over_all)), float(np.mean(within))


def predicted_against_observed(record: Record) -> Figure:
    rows = one_setting(record.trials)
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    for ax, observed, name, paper in ((axes[0], "w_id", "training urns (ID)", 0.992), (axes[1], "w_ood", "fresh urns (OOD)", 0.970)):
        r, within = correlations(rows, observed)
        ax.plot([0, 1], [0, 1], color=colour("theory"), linewidth=0.7, zorder=0)
        for row in rows.itertuples():
            held_out = np.ones_like(row.w_predicted, bool)
            kept = len(row.steps) - int(row.first_kept)
            held_out[: int(row.first_kept) + round(0.8 * kept), : round(0.8 * len(row.diversities))] = False
            later = np.arange(len(row.steps))[:, None] >= row.first_kept
            for mask, role, label in ((~held_out & later, "method", "fitted on"), (held_out & later, "baseline", "held out")):
                ax.scatter(row.w_predicted[mask], getattr(row, observed)[mask], s=5, color=colour(role), alpha=0.45, linewidth=0, label=label)
        ax.set_title(f"{name}\nr = {r:.3f} (paper {paper:.3f}); within a diversity r = {within:.2f}")
        ax.set(xlabel="predicted $w_M$", ylabel="observed $w$", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].legend(handles[:2], labels[:2], title=f"kept checkpoints, all D, {len(rows)} seeds", title_fontsize=7)
    return fig


def odds_maps(record: Record) -> Figure:
    row = one_setting(record.trials).iloc[0]
    learner = Learner(row.alpha, row.beta, row.gamma)
    N, nothing = row.steps.astype(float), np.zeros_like(row.bits_M)
    known = Strategies(nothing, row.loss_gap.astype(float), row.bits_M, row.bits_G)
    prior = log_posterior(learner, N, nothing, known.bits_M) - log_posterior(learner, N, nothing, known.bits_G)
    factor = log_posterior(learner, N, known.loss_M, nothing) - log_posterior(learner, N, known.loss_G, nothing)
    maps = {"log prior odds": np.asarray(prior), "log Bayes factor": np.asarray(factor), "log posterior odds": np.asarray(prior + factor)}
    limit = max(np.abs(values).max() for values in maps.values())
    fig, axes = plt.subplots(1, 3, figsize=TWO_COLUMNS, sharey=True)
    for ax, (title, values) in zip(axes, maps.items(), strict=True):
        drawn = heat(ax, row, values, title, vmin=-limit, vmax=limit, cmap=plt.get_cmap("RdBu_r", 21))  # levels that survive in the bar, too
    axes[0].set_ylabel("training urns D")
    fig.colorbar(drawn, ax=axes, label="M over G, nats")
    fig.suptitle("The fitted model of one seed", fontsize=8)
    return fig


def log_odds(record: Record) -> Figure:
    row = one_setting(record.trials).iloc[0]
    fig, ax = plt.subplots(figsize=ONE_COLUMN)
    later = slice(int(row.first_kept), None)
    x = row.steps[later].astype(float) ** (1 - row.alpha)
    for k, D in enumerate(row.diversities.astype(int)):
        hue = plt.get_cmap("viridis")(k / len(row.diversities))
        predicted, observed = (np.clip(values[later, k].astype(float), 1e-3, 1 - 1e-3) for values in (row.w_predicted, row.w_best))
        ax.plot(x, np.log(predicted / (1 - predicted)), color=hue, label=f"D = {D}")
        ax.scatter(x, np.log(observed / (1 - observed)), color=hue, s=5, linewidth=0)
    ax.set(xlabel=f"$N^{{1-\\alpha}}$, fitted $\\alpha$ = {row.alpha:.2f}", ylabel="log odds of M over G", ylim=(-7, 7))
    ax.legend(ncols=2, title="line: model; dots: best mixture, at most ±6.9; one seed", title_fontsize=7)
    return fig


def transience(record: Record) -> Figure:
    rows = one_setting(record.trials)
    Ds = rows.iloc[0].diversities.astype(int)
    chosen = record.config["transience_diversity"]
    fig, ax = plt.subplots(figsize=ONE_COLUMN)
    above_G = np.stack(rows.ood_kl) - np.stack(rows.ood_kl_G)[:, None]  # (seeds, checkpoints, D); the seeds' sequences differ more than their curves
    for D, role in ((chosen, "method"), (Ds[-1], "variant")):
        k = int(np.flatnonzero(Ds == D)[0])
        band(ax, rows.iloc[0].steps, above_G[:, :, k], f"D = {D}", role=role, show_n=role == "method")
        ax.axhline((np.stack(rows.ood_kl_M) - np.stack(rows.ood_kl_G))[:, k].mean(), color=colour(role), linestyle=":", linewidth=0.8, label=f"M, D = {D}")
    ax.axhline(0, color=colour("theory"), linewidth=0.8, label="G")
    ax.axvspan(rows.iloc[0].steps[0], record.config["warmup"], color="#000000", alpha=0.06, linewidth=0, label="warm-up")
    ax.set(xscale="log", xlabel="training steps N (log)", ylabel="KL to the true urn, less G's (fresh urns)")
    ax.legend()
    return fig


def switches(record: Record) -> Figure:
    rows = one_setting(record.trials)
    fig, ax = plt.subplots(figsize=ONE_COLUMN)
    for i, row in enumerate(rows.itertuples()):
        D, t = switch_times(row)
        hue = colour(("method", "variant", "variant2")[i % 3])
        ax.plot(D * 1.04 ** (i - 1), t, "o", color=hue, markersize=3, label=f"seed {row.Index}")  # side by side where they agree
        if len(D) >= 2:
            ax.plot(D, log_log_fit(D, t).predict(D), color=hue, linewidth=0.8)
        if i == 0 and len(D):
            ax.plot(D, t[0] * D / D[0], color=colour("theory"), linestyle=":", label="slope 1")
    known_from = rows.iloc[0].steps[int(rows.first_kept.min())]
    ax.axhspan(rows.iloc[0].steps[0], known_from, color="#000000", alpha=0.06, linewidth=0, label="before the threshold")
    ax.set(xscale="log", yscale="log", xlabel="training urns D (log)", ylabel="switch time t*(D), steps (log)")
    ax.legend()
    return fig


def ablations(record: Record) -> Figure:
    rows = one_setting(record.trials)
    names = {
        "full": "full model",
        "linear_evidence": "alpha = 0",
        "linear_complexity": "beta = 1",
        "no_gamma": "gamma = 1",
        "complexity_coefficient": "beta = 1, free coefficient",
        "constant": "best constant weight",
        "random": "random weights",
    }
    fig, (ax, side) = plt.subplots(1, 2, figsize=TWO_COLUMNS, width_ratios=(3, 1))
    for place, name in enumerate(names):
        whiskers(ax, place, rows[f"divergence_{name}"] - rows.least_divergence, role="method" if name == "full" else "baseline", horizontal=True)
    ax.set(yticks=range(len(names)), yticklabels=names.values(), xscale="log")
    ax.set_xlabel(f"KL(Transformer || mixture) less that of the best weight in every cell (95% CI, n = {len(rows)})")
    ax.invert_yaxis()
    whiskers(side, 0, rows.alpha)
    side.set(xticks=[0], xticklabels=["alpha"], xlim=(-0.6, 0.6), ylim=(0, 1.05))
    reported(side, 0.778)
    criterion(side, 0.3, 0.95)
    side.legend()
    return fig


def draw(record: Record) -> dict[str, Figure]:
    drawings = (weight_maps, predicted_against_observed, odds_maps, log_odds, transience, switches, ablations)
    with style():
        return {drawing.__name__: drawing(record) for drawing in drawings}


if __name__ == "__main__":
    draw_figures(__file__)
